// The trunk of models/fourier_mlp.py and the embedding of what is known of a set, for one set.

const TIME_MAX_PERIOD = 10000;
// Of log(count), as models/layers.py has them.
const COUNT_FREQUENCIES = 16, COUNT_SCALE = 28, COUNT_MAX_PERIOD = 128;

// name -> (x f32[N, D], D, options, its weights) -> {values f32[N, width], width}
const EMBEDDINGS = {
  sinusoidal(x, dim, options) {
    const values = sinusoidal(x, options.num_frequencies, options.scale, options.max_period);
    return { values, width: 2 * dim * options.num_frequencies };
  },
  gaussian: (x, dim, options, weights) => directions(x, dim, weights.fixed_frequency),
  learned: (x, dim, options, weights) => directions(x, dim, weights.frequency),
  identity: (x, dim) => ({ values: x, width: dim }),
};

// waves(x B / 2 pi), B f32[D, F].
function directions(x, dim, frequency) {
  const size = frequency.length / dim;
  const turns = new Float32Array((x.length / dim) * size);
  for (let i = 0; i < turns.length; i++) {
    const row = Math.floor(i / size), column = i % size;
    let angle = 0;
    for (let d = 0; d < dim; d++) angle += x[row * dim + d] * frequency[d * size + column];
    turns[i] = angle / (2 * Math.PI);
  }
  return { values: waves(turns, size), width: 2 * size };
}

// h = gelu(W_in [features(x), features(t), context]); h += gelu(W_k h); W_out h.
class Trunk {
  constructor(weights, options, dim) {
    Object.assign(this, { weights, options, dim });
    this.layers = [weights.from_features];
    for (let i = 0; i < options.num_blocks; i++) this.layers.push(weights[`blocks_${i}`]);
  }

  // Of points that are not noisy.
  features(x) {
    return EMBEDDINGS[this.options.embedding](x, this.dim, this.options, this.weights.features);
  }

  timeFeatures(time) {
    const { time_frequencies: count, time_scale: scale } = this.options;
    return { values: sinusoidal([time], count, scale, TIME_MAX_PERIOD), width: 2 * count };
  }

  // Each as strong as the noise level lets it be: times 2 sigmoid(W features(t) + b).
  noisyFeatures(x, ofTime) {
    const features = this.features(x);
    if (!this.options.fade) return features;
    const strength = dense(ofTime.values, this.weights.fade).map((v) => 2 / (1 + Math.exp(-v)));
    const values = features.values.map((v, i) => v * strength[i % features.width]);
    return { values, width: features.width };
  }

  // [scale, shift] of every layer by what is known of the set, f32[C].
  film(perSet) {
    return this.layers.map((_, i) => dense(perSet, this.weights[`films_${i}`]));
  }

  // f32[N, D] of noisy x f32[N, D]. perLayer: of `film`; perPoint: {values, width};
  // lookedAt: {keys, values, count, size}, tokens that every point attends to.
  apply(x, time, { perLayer, perPoint, lookedAt } = {}) {
    const rows = x.length / this.dim, ofTime = this.timeFeatures(time);
    const parts = [this.noisyFeatures(x, ofTime), ofTime];
    if (perPoint) parts.push(perPoint);
    let h = this.layer(0, concat(rows, ...parts), perLayer);
    if (lookedAt) {
      const { keys, values, count, size } = lookedAt;
      const q = this.rotated(dense(h, this.weights.query), x, size);
      const away = attend(q, keys, values, size, this.options.num_heads, () => count);
      const read = this.rotated(away, x, size, -1);
      h = add(h, dense(read, this.weights.read));
    }
    for (let i = 1; i < this.layers.length; i++) h = add(h, this.layer(i, h, perLayer));
    return dense(h, this.weights.to_output);
  }

  // With relative positions, a f32[N, size] rotated by the points x, or by -x.
  rotated(a, x, size, sign = 1) {
    return this.options.relative ? rotate(a, x, size, this.dim, sign, this.options) : a;
  }

  // gelu((1 + scale) W h + shift)
  layer(i, h, perLayer) {
    const out = dense(h, this.layers[i]);
    return gelu(perLayer ? modulate(out, perLayer[i]) : out);
  }
}

// The sum of a vector of the label and one of the number of points; undefined where there is none.
// label: null or -1 for a set without a name; count: null where it is unknown.
function setEmbedding(weights, { num_labels: numLabels, sizes: counts }, { label, count }) {
  const known = [];
  if (numLabels) {
    const table = weights.table.embedding, size = table.length / (numLabels + 1);
    const row = label == null || label < 0 ? numLabels : label;
    known.push(table.subarray(row * size, (row + 1) * size));
  }
  if (counts) {
    const unknown = new Float32Array(2 * COUNT_FREQUENCIES);
    known.push(dense(count == null ? unknown : countFeatures([count]), weights.count));
  }
  return known.length ? known.reduce((a, b) => add(a, b)) : undefined;
}

// f32[numbers, 2 COUNT_FREQUENCIES]: features of log(count).
function countFeatures(counts) {
  const logs = Float32Array.from(counts, (count) => Math.log(Math.max(count, 1)));
  return sinusoidal(logs, COUNT_FREQUENCIES, COUNT_SCALE, COUNT_MAX_PERIOD);
}
