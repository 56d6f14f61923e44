// Error of a sampler against its number of steps. Points move from one noise, all given the same
// condition; each is compared with the end of a long deterministic run from its noise.

const LONG_RUN = { sampler: "heun", numSteps: 200, spacing: "time" };
const COUNTS = [1, 2, 4, 8, 16, 32, 64]; // numbers of steps
const DETERMINISTIC = ["ddim", "heun", "dpm++2m"]; // others never approach one solution
const CURVE_POINTS = 64;

// x_0 f32[n, D] at the end of the trajectories from x_T.
function solve(model, denoise, x_T, { sampler, numSteps, spacing }) {
  let x;
  for (const frame of reverse({
    denoise, sampler: SAMPLERS[sampler](0), start: model.start, size: x_T.length, x_T,
    levels: path(model, { numSteps, spacing }, model.levels),
  })) ({ x } = frame);
  return x;
}

// Yields {sampler, numSteps, error} in standard deviations of the data. The condition is the one of
// the first points of a set: a latent, or a label without points before.
function* convergence(model, asked, seed) {
  const normal = noiseOf(seed), whole = { ...asked, ...LONG_RUN, given: new Float32Array(0) };
  const { contexts } = STRATEGIES[model.strategy](model, whole, normal).next().value;
  const { mean, std } = model.start, { dim } = model;
  const x_T = normal(CURVE_POINTS * dim).map((v, i) => mean[i % dim] + std * v);
  const denoise = denoiseWith(model, contexts, asked.guidanceScale);
  const exact = solve(model, denoise, x_T, LONG_RUN);
  for (const numSteps of COUNTS) {
    for (const sampler of DETERMINISTIC) {
      const x_0 = solve(model, denoise, x_T, { sampler, numSteps, spacing: asked.spacing });
      yield { sampler, numSteps, error: medianDistance(x_0, exact, dim) / model.sigma_data };
    }
  }
}
