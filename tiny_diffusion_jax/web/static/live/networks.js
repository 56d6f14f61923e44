// The networks of models/, for one set. Each has
//   given(condition) -> context, computed once for a whole reverse process
//   apply(x f32[N, D], time, context) -> f32[N, D]
// condition: {label, count, history f32[M, D], latent}; what is left out is unknown.

class FourierMLP {
  constructor(weights, options, dim) {
    Object.assign(this, { weights, options, trunk: new Trunk(weights.trunk, options, dim) });
  }

  given(condition) {
    const known = setEmbedding(this.weights.label, this.options, condition);
    return { perLayer: known && this.trunk.film(known) };
  }

  apply(x, time, context) {
    return this.trunk.apply(x, time, context);
  }
}

// Noisy points attend to the points so far, and to a token that is always there.
class HistoryDenoiser {
  constructor(weights, options, dim) {
    Object.assign(this, { weights, options, dim, trunk: new Trunk(weights.trunk, options, dim) });
  }

  given(condition) {
    const { weights } = this, size = this.options.hidden_dim;
    const history = condition.history ?? new Float32Array(0);
    const count = history.length / this.dim;
    let seen = gelu(dense(this.trunk.features(history).values, weights.from_history));
    seen = add(seen, gelu(dense(seen, weights.history_block)));
    const fullness = Float32Array.of(Math.log1p(count) / Math.log(256));
    const pooled = { values: mean(seen, size), width: size };
    let summary = concat(1, pooled, { values: fullness, width: 1 });
    summary = gelu(dense(summary, weights.from_summary));
    const known = setEmbedding(weights.label, this.options, condition);
    if (known) summary = add(summary, known);
    return { perLayer: this.trunk.film(summary), count: count + 1, ...this.memory(seen) };
  }

  // Keys and values f32[1 + M, C]: of the token, then of the history.
  memory(seen) {
    const size = this.options.hidden_dim;
    const { keys_values: layer, null: token } = this.weights.attention;
    const both = dense(seen, layer);
    const all = new Float32Array(2 * size + both.length);
    all.set(token);
    all.set(both, 2 * size);
    return { keys: columns(all, 2 * size, 0, size), values: columns(all, 2 * size, size, size) };
  }

  apply(x, time, { perLayer, keys, values, count }) {
    const size = this.options.hidden_dim, ofTime = this.trunk.timeFeatures(time);
    const features = concat(x.length / this.dim, this.trunk.noisyFeatures(x, ofTime), ofTime);
    const query = dense(features, this.weights.query);
    const read = attend(query, keys, values, size, this.options.num_heads, () => count);
    return this.trunk.apply(x, time, { perLayer, perPoint: { values: read, width: size } });
  }
}

// `encode` points to a latent; `prior` denoises latents; the trunk denoises points given one.
class SetLatent {
  constructor(weights, options, dim) {
    Object.assign(this, { weights, options, dim, trunk: new Trunk(weights.trunk, options, dim) });
    this.prior = {
      given: (condition) => setEmbedding(weights.label, options, condition),
      apply: (z, time, known) => this.denoiseLatent(z, time, known),
    };
  }

  // f32[latent_dim] of the points' set: its numbers have mean 0 and variance 1.
  encode(points) {
    const { weights } = this;
    let h = gelu(dense(this.trunk.features(points).values, weights.from_points));
    for (const block of [weights.encoder_blocks_0, weights.encoder_blocks_1]) {
      h = add(h, gelu(dense(h, block)));
    }
    const z = dense(mean(h, this.options.hidden_dim), weights.to_latent);
    const centre = z.reduce((a, b) => a + b, 0) / z.length;
    const variance = z.reduce((sum, v) => sum + (v - centre) ** 2, 0) / z.length;
    return z.map((v) => (v - centre) / Math.sqrt(variance + 1e-4));
  }

  denoiseLatent(z, time, known) {
    const { weights } = this;
    let h = add(dense(z, weights.prior_in),
                dense(this.trunk.timeFeatures(time).values, weights.prior_time));
    if (known) h = add(h, dense(known, weights.prior_label));
    for (let i = 0; i < 3; i++) h = add(h, dense(gelu(h), weights[`prior_blocks_${i}`]));
    return dense(h, weights.prior_out);
  }

  given({ latent }) {
    return { perLayer: this.trunk.film(gelu(dense(latent, this.weights.from_latent))) };
  }

  apply(x, time, context) {
    return this.trunk.apply(x, time, context);
  }
}

// f32[size], the mean of the rows; 0 where there is none.
function mean(x, size) {
  const total = new Float32Array(size);
  for (let i = 0; i < x.length; i++) total[i % size] += x[i];
  return total.map((v) => v / Math.max(x.length / size, 1));
}
