// The causal transformer of models/causal.py and its head, for one set.

// A cache: per block, and for what heads see, {keys, values} of `places` tokens, `count` of them
// there. Context: what the last token says to the head.
class Causal {
  constructor(weights, options, dim) {
    Object.assign(this, { weights, options, dim, trunk: new Trunk(weights.trunk, options, dim) });
    this.blocks = Array.from({ length: options.context_blocks }, (_, i) => weights[`blocks_${i}`]);
  }

  // The cache of a set without a point: its first token is 0.
  begin(places, condition) {
    const size = this.options.context_dim;
    const empty = () => new Float32Array(places * size);
    const pairs = Array.from({ length: this.blocks.length + 1 },
                             () => ({ keys: empty(), values: empty() }));
    const known = setEmbedding(this.weights.label, this.options, condition);
    const first = [size, this.dim].map((n) => new Float32Array(n));
    return this.read({ pairs, known, count: 0 }, ...first);
  }

  // The cache after points f32[n, D] more. Given points of a model of rows attend to each other.
  extend(cache, points, areGiven = false) {
    let tokens = dense(this.trunk.features(points).values, this.weights.from_point);
    const { is_given: mark } = this.weights, inBothDirections = areGiven && mark !== undefined;
    if (inBothDirections) tokens = add(tokens, mark);
    return this.read(cache, tokens, points, inBothDirections);
  }

  // Tokens f32[n, C] of points x f32[n, D] through all blocks.
  read(cache, tokens, x, inBothDirections = false) {
    const size = this.options.context_dim, n = tokens.length / size, start = cache.count;
    const numbers = Array.from({ length: n }, (_, i) => 1 + start + i);
    let h = add(tokens, dense(countFeatures(numbers), this.weights.from_number));
    if (cache.known) h = add(h, cache.known);
    const seen = (row) => start + (inBothDirections ? n : row + 1);
    this.blocks.forEach((block, i) => { h = this.block(block, h, cache.pairs[i], start, seen); });
    h = unit(h, size);
    const shown = dense(h, this.weights.looked_at), { keys, values } = cache.pairs.at(-1);
    [keys, values].forEach((stored, i) => {
      const added = columns(shown, 2 * size, i * size, size);
      stored.set(this.trunk.rotated(added, x, size), start * size);
    });
    const perLayer = this.trunk.film(h.subarray((n - 1) * size));
    return { ...cache, count: start + n, context: { perLayer, keys, values, count: start + n } };
  }

  // h += W_out [attention, gelu(u)],    [q, k, v, u] = W_in unit(h)
  // seen(row): number of tokens that this row of h attends to.
  block({ inside, outside }, h, { keys, values }, start, seen) {
    const size = this.options.context_dim, n = h.length / size, width = inside.out;
    const all = dense(unit(h, size), inside);
    keys.set(columns(all, width, size, size), start * size);
    values.set(columns(all, width, 2 * size, size), start * size);
    const q = columns(all, width, 0, size), wide = width - 3 * size;
    const read = attend(q, keys, values, size, this.options.num_heads, seen);
    const u = gelu(columns(all, width, 3 * size, wide));
    const both = concat(n, { values: read, width: size }, { values: u, width: wide });
    return add(h, dense(both, outside));
  }

  // A cache says what all of this needs, so it stands for the condition.
  given(cache) {
    return cache.context;
  }

  apply(x, time, { perLayer, keys, values, count }) {
    const lookedAt = { keys, values, count, size: this.options.context_dim };
    return this.trunk.apply(x, time, { perLayer, lookedAt });
  }
}
