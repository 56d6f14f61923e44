// A training run: batches of noisy points, one step of gradient descent after the other.

class Trainer {
  // shapes: [f32[n, 2], ...], normalised; a set of a batch comes from one of them. options: those
  // of config.model and config.train, and the name of the schedule.
  constructor(shapes, options, { heap, product, seed = 0 }) {
    const { num_sets: sets, num_points: points } = options, rows = sets * points;
    Object.assign(this, { shapes, options, random: new Random(seed) });
    this.levels = makeLevels(options.schedule);
    this.network = new TrainableMLP(options, heap, product);
    this.optimizer = new Optimizer(this.network, options);
    this.gradient = new Gradient(this.network, rows, sets);
    const pairs = () => heap.floats(rows * DIM);
    this.batch = { x: pairs(), time: heap.floats(sets), target: pairs() };
    this.works = new Map();
    initialize(this.optimizer.parameters, this.random);
    this.optimizer.begin();
  }

  // Draw x_0 and eps f32[B N, 2] and levels t i32[B].
  draw() {
    const { random, shapes, levels } = this;
    const { num_sets: sets, num_points: points } = this.options;
    const x_0 = new Float32Array(sets * points * DIM);
    for (let b = 0; b < sets; b++) {
      const shape = shapes[random.below(shapes.length)], count = shape.length / DIM;
      for (let n = 0; n < points; n++) {
        const from = DIM * random.below(count), to = DIM * (b * points + n);
        for (let d = 0; d < DIM; d++) x_0[to + d] = shape[from + d];
      }
    }
    const t = drawTimes(random.uniform(), sets, levels.length - 1);
    return { x_0, eps: random.normals(x_0.length), t };
  }

  // The loss of a batch; its gradient changes the weights.
  step({ x_0, eps, t } = this.draw()) {
    const { x, time, target } = this.batch, perSet = x.length / t.length;
    for (let b = 0; b < t.length; b++) {
      const { alpha, sigma, c_in, c_skip, c_out, time: at } = this.levels[t[b]];
      time[b] = at;
      for (let i = b * perSet; i < (b + 1) * perSet; i++) {
        const x_t = Math.fround(alpha * x_0[i] + sigma * eps[i]);
        x[i] = c_in * x_t;
        target[i] = (x_0[i] - c_skip * x_t) / c_out;
      }
    }
    const loss = this.gradient.loss(this.optimizer.parameters, x, time, target);
    this.optimizer.update(this.gradient.gradient);
    return loss;
  }

  // F f32[n, 2] of the EMA weights, of points at one time t / T, as live/samplers.js calls it.
  apply(x, time) {
    const rows = x.length / DIM;
    if (!this.works.has(rows)) this.works.set(rows, this.network.workspace(rows, 1));
    return this.network.forward(this.optimizer.ema, x, [time], this.works.get(rows));
  }

  denoise(x_t, level) {
    return makeDenoise((x, time) => this.apply(x, time))(x_t, level);
  }

  // Samples f32[n, 2] from the noise `normals` f32[n, 2], in `steps` steps of dpm++2m.
  sample(normals, steps) {
    return this.trajectory(normals, steps).at(-1);
  }

  // x_t f32[n, 2] of these samples at each step, divided by the spread of x_t.
  trajectory(normals, steps) {
    const { alpha, sigma } = this.levels.at(-1), frames = reverse({
      denoise: (x_t, level) => this.denoise(x_t, level), sampler: SAMPLERS["dpm++2m"](),
      levels: timeGrid(this.levels, steps), start: { mean: [0, 0], std: Math.hypot(alpha, sigma) },
      size: normals.length, normal: () => normals,
    });
    return Array.from(frames, ({ x, level }) => {
      const spread = Math.hypot(level.alpha, level.sigma);
      return x.map((v) => v / spread);
    });
  }

  // sigma x score = (alpha x_0_hat - x_t) / sigma f32[n, 2] at `places` f32[n, 2], which are points
  // of level t in units of the spread sqrt(alpha^2 + sigma^2) of x_t.
  field(places, t) {
    const level = this.levels[t], spread = Math.hypot(level.alpha, level.sigma);
    const x_t = places.map((v) => v * spread), x_0 = this.denoise(x_t, level);
    return x_t.map((v, i) => (level.alpha * x_0[i] - v) / level.sigma);
  }
}
