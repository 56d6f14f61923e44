// Random numbers that follow from a seed: mulberry32, and normal ones by Box and Muller.

class Random {
  constructor(seed) {
    this.seed = seed | 0;
    this.spare = null;
  }

  // Uniform in [0, 1).
  uniform() {
    this.seed = (this.seed + 0x6d2b79f5) | 0;
    let t = Math.imul(this.seed ^ (this.seed >>> 15), 1 | this.seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  normal() {
    if (this.spare !== null) {
      const value = this.spare;
      this.spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  normals(count) {
    return Float32Array.from({ length: count }, () => this.normal());
  }

  below(count) {
    return Math.floor(this.uniform() * count);
  }
}
