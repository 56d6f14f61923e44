// The field of a model that denoises points: sigma x score at each place of the plane.

// As it is drawn: x_t is stretched to the spread of the data, or noise would fill the plane.
function inView(model, { x, level }) {
  const { sigma_data: sigmaData, data_mean: mean, dim } = model;
  const factor = sigmaData / Math.hypot(level.alpha * sigmaData, level.sigma);
  return x.map((v, i) => mean[i % dim] + factor * (v - level.alpha * mean[i % dim]));
}

// The inverse of inView: points of `level` that are drawn at the places f32[n, D].
function fromView(model, places, level) {
  const { sigma_data: sigmaData, data_mean: mean, dim } = model;
  const spread = Math.hypot(level.alpha * sigmaData, level.sigma) / sigmaData;
  return places.map((v, i) => level.alpha * mean[i % dim] + spread * (v - mean[i % dim]));
}

// sigma x score = (alpha x_0_hat - x_t) / sigma f32[ARROWS_PER_SIDE^2, 2] at the places of arrows.
// contexts: what the points of a set are denoised with, as live/generation.js yields them.
function fieldOf(model, contexts, level, guidanceScale) {
  const x_t = fromView(model, gridPlaces(model.data_mean, model.sigma_data), level);
  const x_0 = denoiseWith(model, contexts, guidanceScale)(x_t, level);
  return combine([level.alpha / level.sigma, x_0], [-1 / level.sigma, x_t]);
}
