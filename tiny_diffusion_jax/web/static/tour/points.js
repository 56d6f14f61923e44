// Chapters of single points: noising, score, one point's path, and steps.

const SHOWN = 600; // points of a picture
const OBSERVED = 20; // points that the second observer sees

class Noising extends Chapter {
  start() {
    this.plane = this.picture("plane");
    const random = new Random(11);
    this.clean = [this.law, this.moons].map((law) => law.draw(SHOWN, random));
    this.noise = random.normals(2 * SHOWN);
  }

  update() {
    const level = this.level(), { alpha, sigma, spread } = level;
    const noised = (clean) => clean.map((v, i) => (alpha * v + sigma * this.noise[i]) / spread);
    this.plane.show({ data: [], marks: [
      dotsMark(noised(this.clean[Number(this.value("shape"))]), "data", 1.8, 0.75)] });
    this.say({ share: `${number(100 * (alpha / spread) ** 2)} %` });
  }

  asked() {
    return this.level().t;
  }

  // How often an observer who knows both densities names the shape of noised points.
  answer() {
    const { alpha, sigma } = this.level(), laws = [this.law, this.moons];
    const right = { one: 0, group: 0 };
    this.clean.forEach((clean, shape) => {
      const x_t = clean.map((v, i) => alpha * v + sigma * this.noise[i]);
      const logs = laws.map((law) => law.logDensities(x_t, { alpha, sigma }));
      const margin = logs[shape].map((v, i) => v - logs[1 - shape][i]);
      right.one += mean(margin.map((v) => Number(v > 0))) / 2;
      const groups = Array.from({ length: SHOWN / OBSERVED }, (_, i) =>
        total(margin.slice(i * OBSERVED, (i + 1) * OBSERVED)));
      right.group += mean(groups.map((v) => Number(v > 0))) / 2;
    });
    this.say({ one: percent(right.one), group: percent(right.group) });
  }
}

class Score extends Chapter {
  start() {
    this.plane = this.picture("plane", { handles: [[-0.3, 0.9]] });
    this.places = gridPlaces();
  }

  update() {
    const { law, plane, places } = this, level = this.level(), { alpha, sigma, spread } = level;
    const field = new Float32Array(places.length);
    for (let i = 0; i < places.length; i += 2) {
      const [x, y] = [places[i] * spread, places[i + 1] * spread];
      const { x_0 } = law.at(x, y, level);
      field[i] = (alpha * x_0[0] - x) / sigma;
      field[i + 1] = (alpha * x_0[1] - y) / sigma;
    }
    const [x, y] = plane.handles[0].map((v) => v * spread), { x_0 } = law.at(x, y, level);
    const score = x_0.map((v, d) => (alpha * v - [x, y][d]) / sigma ** 2);
    const guess = x_0.map((v) => (alpha * v) / spread); // where the picture shows noise-free points
    const shown = law.points.map((v) => (alpha * v) / spread);
    plane.show({ data: shown, field, marks: [
      weightsMark(shown, Float64Array.from(law.share), "data"),
      arrowMark(plane.handles[0], guess, "ink")] });
    this.say({
      guess: `(${x_0.map((v) => fixed(v)).join(", ")})`,
      score: number(Math.hypot(...score)),
      possible: String(law.share.filter((p) => p > 0.1 / law.count).length),
    });
  }

  asked() {
    return this.level().t;
  }

  // Peaks of p_t: where the steps x <- alpha E[x_0 | x] end, which climb p_t.
  answer() {
    const { law } = this, found = [], level = this.level(), { alpha, sigma } = level;
    let starts = 0;
    for (let k = 0; k < law.count; k += 12) {
      starts += 1;
      let [x, y] = [alpha * law.points[2 * k], alpha * law.points[2 * k + 1]];
      for (let step = 0, moved = 1; step < 300 && moved > 1e-4 * sigma; step++) {
        const next = law.at(x, y, level).x_0.map((v) => alpha * v);
        moved = Math.hypot(next[0] - x, next[1] - y);
        [x, y] = next;
      }
      const reach = 0.2 * Math.hypot(sigma, law.std);
      if (!found.some(([px, py]) => Math.hypot(px - x, py - y) < reach)) found.push([x, y]);
    }
    this.say({ peaks: String(found.length), starts: String(starts) });
  }
}

const PATH_STEPS = 60, PATHS = 40;
const SHIFT = 0.002; // of the start, to measure how much the end moves

class Path extends Chapter {
  start() {
    this.plane = this.picture("plane", { handles: [[1.9, -1.5]] });
  }

  ends(starts, options) {
    const denoise = (x, level) => this.law.denoise(x, level);
    return trajectories(denoise, starts, this.levels, { steps: PATH_STEPS, ...options });
  }

  update() {
    const { plane, law } = this, [x, y] = plane.handles[0], isRandom = this.value("fresh");
    const count = isRandom ? PATHS : 3, random = new Random(4);
    const starts = Float32Array.from({ length: 2 * count }, (_, i) => [x, y][i % 2]);
    if (!isRandom) {
      starts[2] += SHIFT;
      starts[5] += SHIFT;
    }
    const sampler = isRandom ? "ancestral" : "dpm++2m";
    const frames = this.ends(starts, { sampler, normal: (n) => random.normals(n) });
    const end = frames.at(-1), of = (i) => [end[2 * i], end[2 * i + 1]];
    const shown = isRandom ? count : 1; // the other two measure the ratio
    const path = (i) => frames.flatMap((frame) => [frame[2 * i], frame[2 * i + 1]]);
    const lines = Array.from({ length: shown }, (_, i) =>
      lineMark(path(i), isRandom ? "samples" : "ink", isRandom ? 1 : 2, isRandom ? 0.35 : 1));
    const steps = isRandom ? [] : [dotsMark(frames.filter((_, i) => i % 5 === 0)
      .flatMap(([px, py]) => [px, py]), "ink", 2.6)];
    plane.show({ data: law.points, marks: [
      ...lines, ...steps, dotsMark(end.slice(0, 2 * shown), "samples", isRandom ? 4 : 7)] });
    const apart = isRandom
      ? mean(Array.from({ length: count - 1 }, (_, i) => Math.hypot(...minus(of(i + 1), of(0)))))
      : Math.max(...[1, 2].map((i) => Math.hypot(...minus(of(i), of(0))) / SHIFT));
    this.say({
      where: `(${of(0).map((v) => fixed(v)).join(", ")})`, "number-name": isRandom
        ? `Mean distance of the other ${count - 1} ends from this end`
        : "Distance that the end moves, per distance that the start moves",
      number: number(apart),
    });
  }

  // The largest such ratio along a circle of starts around the middle.
  answer() {
    const count = 400, radius = 1, angle = (i) => (2 * Math.PI * i) / count;
    const starts = Float32Array.from({ length: 2 * count }, (_, i) =>
      radius * (i % 2 ? Math.sin : Math.cos)(angle(i >> 1)));
    const end = this.ends(starts, {}).at(-1), way = 2 * radius * Math.sin(Math.PI / count);
    const ratios = Array.from({ length: count }, (_, i) => {
      const j = (i + 1) % count;
      return Math.hypot(end[2 * i] - end[2 * j], end[2 * i + 1] - end[2 * j + 1]) / way;
    });
    ratios.sort((a, b) => a - b);
    this.say({ middle: number(ratios[count / 2]), largest: number(ratios.at(-1)) });
  }
}

const minus = (a, b) => a.map((v, d) => v - b[d]);

const STEPS = [1, 2, 3, 5, 10, 25, 50, 100];
const MEASURED = 60, EXACT_STEPS = 300; // samples of the chart; steps of the exact ends
// Steps of each sampler of the chart. READ evaluations have all samplers.
const CHARTED = { ddim: STEPS, "dpm++2m": STEPS, heun: [1, 2, 3, 5, 13, 25, 50] };
const READ = 25;

class Steps extends Chapter {
  start() {
    this.plane = this.picture("plane");
    this.noise = new Random(3).normals(2 * SHOWN);
    this.denoise = (x, level) => this.law.denoise(x, level);
    this.say({ measured: String(MEASURED) });
    setTimeout(() => this.chart());
  }

  update() {
    const { plane, law, noise } = this, steps = this.choice("steps", STEPS);
    const random = new Random(8), sampler = this.value("sampler");
    const normal = (n) => random.normals(n);
    const frames = trajectories(this.denoise, noise, this.levels, { steps, sampler, normal });
    this.samples = frames.at(-1);
    const line = (i) => frames.flatMap((frame) => [frame[2 * i], frame[2 * i + 1]]);
    const lines = Array.from({ length: 12 }, (_, i) => lineMark(line(i), "ink", 1, 0.35));
    plane.show({ data: law.points, samples: this.samples, marks: lines });
    this.say({ spread: fixed(this.spread(this.samples)) });
  }

  // Root of the mean variance of a coordinate.
  spread(points) {
    const sides = [0, 1].map((d) => points.filter((_, i) => i % 2 === d));
    const variances = sides.map((v) => mean(v.map((x) => (x - mean(v)) ** 2)));
    return Math.sqrt(mean(variances));
  }

  answer() {
    const guesses = trajectories(this.denoise, this.noise, this.levels, { steps: 1 }).at(-1);
    const data = this.law.draw(5000, new Random(2));
    this.say({ blot: fixed(this.spread(guesses)), data: fixed(this.spread(data)) });
  }

  // Mean distance to the exact ends, against evaluations of the denoiser.
  async chart() {
    const noise = this.noise.slice(0, 2 * MEASURED), pause = () => new Promise(setTimeout);
    const run = (steps, sampler) =>
      trajectories(this.denoise, noise, this.levels, { steps, sampler }).at(-1);
    const exact = run(EXACT_STEPS, "dpm++2m");
    this.lines = [];
    for (const [name, chosen] of Object.entries(CHARTED)) {
      await pause(); // the page stays responsive
      this.lines.push({
        name, colour: samplerColour(name),
        x: chosen.map((n) => Math.log2(name === "heun" ? 2 * n - 1 : n)),
        y: chosen.map((steps) => meanDistance(run(steps, name), exact)),
      });
    }
    const chart = new Chart(this.find("chart"), {
      lines: this.lines, xName: "evaluations of the denoiser", xMarks: STEPS.map(Math.log2),
      xText: (x) => String(Math.round(2 ** x)),
    });
    chart.point(chart.xs.indexOf(Math.log2(READ)));
    this.root.dataset.chart = "ready";
  }
}
