// Shapes that can be learned: those of the page, and the points that a user draws.

// Points f32[n, 2] with mean 0 and mean variance 1, as dataset.py: normalize.
function normalized(points) {
  const n = points.length / 2, mean = [0, 0];
  for (let i = 0; i < points.length; i++) mean[i % 2] += points[i] / n;
  let variance = 0;
  for (let i = 0; i < points.length; i++) variance += (points[i] - mean[i % 2]) ** 2 / (2 * n);
  const scale = Math.sqrt(variance);
  return Float32Array.from(points, (v, i) => (v - mean[i % 2]) / (scale || 1));
}

// A drawing: points evenly along its strokes, each moved by a random amount.
class Sketch {
  constructor() {
    Object.assign(this, { points: [], strokes: [], random: new Random(5) });
  }

  // Begin a stroke at a point.
  begin(x, y) {
    this.strokes.push(this.points.length);
    this.last = [x, y];
    this.add(x, y);
  }

  // Draw to a point: a point every SPACING of the way.
  drawTo(x, y) {
    const [fromX, fromY] = this.last, length = Math.hypot(x - fromX, y - fromY);
    const count = Math.floor(length / Sketch.SPACING);
    for (let i = 1; i <= count; i++) {
      const share = (i * Sketch.SPACING) / length;
      this.last = [fromX + share * (x - fromX), fromY + share * (y - fromY)];
      this.add(...this.last);
    }
  }

  add(x, y) {
    for (let i = 0; i < Sketch.PER_PLACE; i++) {
      this.points.push(...[x, y].map((v) => v + Sketch.SPREAD * this.random.normal()));
    }
  }

  undo() {
    if (this.strokes.length) this.points.length = this.strokes.pop();
  }
}
Sketch.SPACING = 0.02; // in standard deviations of the plane
Sketch.SPREAD = 0.02;
Sketch.PER_PLACE = 3;
