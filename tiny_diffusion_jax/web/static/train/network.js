// The network of models/fourier_mlp.py with sinusoidal features and `fade`, and its gradient:
//   u = [gate(t) waves(x), waves(t)];  h = gelu(W_in u);  h += gelu(W_k h);  F = W_out h
// with gate(t) = 2 sigmoid(W_fade waves(t)). Points x f32[R, 2] are B sets of R / B points, and
// each set has one noise level.

const DIM = 2, MAX_TIME_PERIOD = 10000; // as in models/fourier_mlp.py

// w_i scale / 2 pi, with w_i falling from 1 to 1 / maxPeriod (models/layers.py: sinusoidal).
function frequencies(count, scale, maxPeriod) {
  return Float32Array.from({ length: count }, (_, i) =>
    (scale * maxPeriod ** (-i / Math.max(count - 1, 1))) / (2 * Math.PI));
}

// sin(2 pi turns) by the polynomial of models/layers.py: sin_turns.
function sinTurns(turns) {
  let r = turns - Math.round(turns);
  if (r > 0.25) r = 0.5 - r;
  else if (r < -0.25) r = -0.5 - r;
  const x = 2 * Math.PI * r, q = x * x;
  return x * (1 + q * (-1 / 6 + q * (1 / 120 + q * (-1 / 5040 + q * (1 / 362880 - q / 39916800)))));
}

// [sin(w x), cos(w x)] of one number, written to `to` from index `at`.
function putWaves(x, waveNumbers, to, at) {
  const count = waveNumbers.length;
  for (let i = 0; i < count; i++) {
    const turns = Math.fround(x * waveNumbers[i]);
    to[at + i] = sinTurns(turns);
    to[at + count + i] = sinTurns(turns + 0.25);
  }
}

// The layers in the order of the parameters, as {name, rows, columns}.
function layerSizes(options) {
  const { hidden_dim: width, num_blocks: blocks } = options;
  const { num_frequencies: F, time_frequencies: C } = options;
  return [
    { name: "fade", rows: 2 * C, columns: 2 * DIM * F },
    { name: "from_features", rows: 2 * DIM * F + 2 * C, columns: width },
    ...Array.from({ length: blocks }, (_, i) => (
      { name: `blocks_${i}`, rows: width, columns: width })),
    { name: "to_output", rows: width, columns: DIM },
  ];
}

// {flat f32[P], layers: {name: {kernel f32[rows columns], bias f32[columns]}}}, all zeros.
function makeParameters(options, heap) {
  const sizes = layerSizes(options);
  const flat = heap.floats(sizes.reduce((sum, { rows, columns }) => sum + (rows + 1) * columns, 0));
  let at = 0;
  const take = (count) => flat.subarray(at, (at += count));
  const layers = {};
  for (const { name, rows, columns } of sizes) {
    layers[name] = { rows, columns, kernel: take(rows * columns), bias: take(columns) };
  }
  return { flat, layers };
}

// The weights of Flax's Dense: normal with variance 1 / rows, cut at two deviations; biases are 0.
function initialize({ layers }, random) {
  const cut = 0.87962566103423978; // standard deviation of a standard normal cut at 2
  for (const { rows, kernel } of Object.values(layers)) {
    for (let i = 0; i < kernel.length; i++) {
      let z = random.normal();
      while (Math.abs(z) > 2) z = random.normal();
      kernel[i] = z / cut / Math.sqrt(rows);
    }
  }
}

class TrainableMLP {
  // options: those of config.model. product: addProduct, or a kernel with the same arguments.
  constructor(options, heap, product = addProduct) {
    Object.assign(this, { options, heap, product });
    const { num_frequencies: F, time_frequencies: C } = options;
    this.waveNumbers = frequencies(F, options.scale, options.max_period);
    this.timeWaveNumbers = frequencies(C, options.time_scale, MAX_TIME_PERIOD);
    this.features = 2 * DIM * F;
    this.inputs = this.features + 2 * C;
  }

  // Arrays that hold one evaluation of at most `rows` points in `sets` sets.
  workspace(rows, sets) {
    const { heap, features, inputs } = this;
    const { hidden_dim: width, num_blocks: blocks } = this.options;
    const floats = (count) => heap.floats(count);
    const perLayer = () => Array.from({ length: blocks + 1 }, () => floats(rows * width));
    return {
      rows, sets, waves: floats(rows * features), timeWaves: floats(sets * (inputs - features)),
      gate: floats(sets * features), input: floats(rows * inputs), output: floats(rows * DIM),
      h: perLayer(), z: perLayer(), s: perLayer(),
    };
  }

  // F f32[R, 2] of points x = c_in x_t and times t / T f32[B]. `work` keeps what a gradient needs.
  forward({ layers }, x, time, work) {
    const { rows } = work, { hidden_dim: width, num_blocks: blocks } = this.options;
    this.embed(layers.fade, x, time, work);
    for (let i = 0; i <= blocks; i++) {
      const layer = i ? layers[`blocks_${i - 1}`] : layers.from_features;
      fillRows(work.z[i], layer.bias);
      const from = i ? work.h[i - 1] : work.input;
      this.product(from, layer.rows, 1, layer.kernel, work.z[i], rows, layer.rows, width);
      gelu(work.z[i], work.s[i], work.h[i], i ? work.h[i - 1] : null);
    }
    fillRows(work.output, layers.to_output.bias);
    this.product(work.h[blocks], width, 1, layers.to_output.kernel, work.output, rows, width, DIM);
    return work.output;
  }

  // The input of the first layer: faded waves of each point beside the waves of its time.
  embed(fade, x, time, work) {
    const { rows, sets, waves, timeWaves, gate, input } = work, { features, inputs } = this;
    const timed = inputs - features, F = this.waveNumbers.length, perSet = rows / sets;
    for (let b = 0; b < sets; b++) putWaves(time[b], this.timeWaveNumbers, timeWaves, b * timed);
    fillRows(gate, fade.bias);
    this.product(timeWaves, timed, 1, fade.kernel, gate, sets, timed, features);
    for (let i = 0; i < gate.length; i++) gate[i] = 2 / (1 + Math.exp(-gate[i]));
    for (let r = 0; r < rows; r++) {
      const b = Math.floor(r / perSet), from = r * features, to = r * inputs;
      for (let d = 0; d < DIM; d++) {
        putWaves(x[r * DIM + d], this.waveNumbers, waves, from + d * 2 * F);
      }
      for (let i = 0; i < features; i++) input[to + i] = waves[from + i] * gate[b * features + i];
      for (let i = 0; i < timed; i++) input[to + features + i] = timeWaves[b * timed + i];
    }
  }
}

// h = gelu(z) + before, with gelu(z) = z s and s = sigmoid(2 sqrt(2 / pi) (z + 0.044715 z^3)). This
// is the tanh form, which Flax uses. `before`: null for the first layer.
function gelu(z, s, h, before) {
  const c = -2 * Math.sqrt(2 / Math.PI);
  for (let i = 0; i < z.length; i++) {
    const v = z[i], share = 1 / (1 + Math.exp(c * (v + 0.044715 * v * v * v)));
    s[i] = share;
    h[i] = v * share + (before ? before[i] : 0);
  }
}
