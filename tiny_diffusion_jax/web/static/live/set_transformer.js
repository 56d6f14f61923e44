// The joint denoiser of models/set_transformer.py, for one set.

class SetTransformer {
  constructor(weights, options, dim) {
    Object.assign(this, { weights, options, dim });
    this.trunk = new Trunk(weights.trunk ?? {}, options, dim);
  }

  given(condition) {
    return { known: setEmbedding(this.weights.label, this.options, condition) };
  }

  apply(x, time, { known }) {
    const { weights } = this, size = this.options.hidden_dim;
    const ofTime = this.trunk.timeFeatures(time);
    let c = dense(ofTime.values, weights.from_time);
    c = gelu(known ? add(c, known) : c);
    let h = dense(this.trunk.noisyFeatures(x, ofTime).values, weights.from_features);
    for (let i = 0; i < this.options.num_blocks; i++) h = this.block(weights[`block_${i}`], h, c);
    return dense(unit(h, size), weights.to_output);
  }

  // h += (1 + gate(c)) W_out [attention, gelu(u)],    [q, k, v, u] = W_in (unit(h) a(c) + b(c))
  block(weights, h, c) {
    const size = this.options.hidden_dim, n = h.length / size, width = weights.inside.out;
    const adapt = dense(c, weights.adapt), gate = adapt.subarray(2 * size);
    const inside = dense(modulate(unit(h, size), adapt.subarray(0, 2 * size)), weights.inside);
    const q = columns(inside, width, 0, size), wide = width - 3 * size;
    const [k, v] = this.memory(weights, inside, width);
    const read = attend(q, k, v, size, this.options.num_heads, () => k.length / size);
    const u = gelu(columns(inside, width, 3 * size, wide));
    const both = concat(n, { values: read, width: size }, { values: u, width: wide });
    return add(h, modulate(dense(both, weights.outside), joined(gate, new Float32Array(size))));
  }

  // Keys and values of all points, or of the learned queries that read them first.
  memory(weights, inside, width) {
    const size = this.options.hidden_dim;
    const k = columns(inside, width, size, size), v = columns(inside, width, 2 * size, size);
    if (!weights.inducing) return [k, v];
    const { num_heads: heads } = this.options;
    const read = attend(weights.inducing, k, v, size, heads, () => k.length / size);
    const summary = unit(add(read, dense(gelu(read), weights.summary)), size);
    const both = dense(summary, weights.summary_kv);
    return [columns(both, 2 * size, 0, size), columns(both, 2 * size, size, size)];
  }
}
