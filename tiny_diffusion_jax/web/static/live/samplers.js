// Reverse processes: the samplers of diffusion/samplers.py, with the same names and formulas.
// A level is {time, alpha, sigma, log_snr, c_in, c_skip, c_out}; a sampler is {init, step} with
//   step(denoise, memory, x_t, t, s, noise) -> [memory, x_s]    from level t to level s < t

// a x + b y + ..., f32 of terms [a, x], [b, y], ...
function combine(...terms) {
  const out = new Float32Array(terms[0][1].length);
  for (const [factor, x] of terms) {
    for (let i = 0; i < out.length; i++) out[i] += factor * x[i];
  }
  return out;
}

// r = 1 - SNR_t / SNR_s.
function noiseRatio(t, s) {
  return -Math.expm1(t.log_snr - s.log_snr);
}

// eps = (x_t - alpha_t x_0) / sigma_t.
function epsFromX0(level, x_t, x_0) {
  return combine([1 / level.sigma, x_t], [-level.alpha / level.sigma, x_0]);
}

// x_s = alpha_s x_0_hat + sqrt(sigma_s^2 - eta^2 var) eps_hat + eta sqrt(var) z.
function ddim(eta) {
  function step(denoise, memory, x_t, t, s, noise) {
    const x_0 = denoise(x_t, t), eps = epsFromX0(t, x_t, x_0);
    const std = eta * Math.sqrt(noiseRatio(t, s)) * s.sigma;
    const kept = Math.exp(t.log_snr - s.log_snr);
    const direction = Math.sqrt(1 - eta ** 2 + eta ** 2 * kept) * s.sigma;
    const mean = combine([s.alpha, x_0], [direction, eps]);
    return [memory, std ? combine([1, mean], [std, noise]) : mean];
  }
  return { init: () => null, step, stochastic: eta > 0 };
}

// The next memory, and D = x_0_hat + (h / 2 h_prev) (x_0_hat - x_0_hat_prev).
function extrapolate(denoise, memory, x_t, t, s) {
  const x_0 = denoise(x_t, t), h = 0.5 * (s.log_snr - t.log_snr);
  const weight = Number.isFinite(h) ? 0.5 * h * memory.inverseH : 0;
  const d = combine([1 + weight, x_0], [-weight, memory.previous]);
  return [{ previous: x_0, inverseH: 1 / h }, d];
}

const noEstimate = (x_T) => ({ previous: new Float32Array(x_T.length), inverseH: 0 });

// x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) D, h = lambda_s - lambda_t.
function dpmSolver2M() {
  function step(denoise, memory, x_t, t, s) {
    const [next, d] = extrapolate(denoise, memory, x_t, t, s);
    const ratio = -Math.expm1(0.5 * (t.log_snr - s.log_snr));
    return [next, combine([s.sigma / t.sigma, x_t], [s.alpha * ratio, d])];
  }
  return { init: noEstimate, step, stochastic: false };
}

// x_s = (sigma_s / sigma_t) e^-h x_t + alpha_s r D + sigma_s sqrt(r) z, r = 1 - e^-2h.
function sdeDpmSolver2M() {
  function step(denoise, memory, x_t, t, s, noise) {
    const [next, d] = extrapolate(denoise, memory, x_t, t, s);
    const r = noiseRatio(t, s);
    const weight = (t.alpha / s.alpha) * (s.sigma / t.sigma) ** 2;
    const std = Math.sqrt(r) * s.sigma;
    return [next, combine([weight, x_t], [r * s.alpha, d], [std, noise])];
  }
  return { init: noEstimate, step, stochastic: true };
}

// Second-order steps in phi = arctan(sigma / alpha); the one to clean data is Euler's.
function heun() {
  const velocity = (level, x, x_0) => {
    const norm = Math.hypot(level.alpha, level.sigma);
    return combine([level.alpha / norm, epsFromX0(level, x, x_0)], [-level.sigma / norm, x_0]);
  };
  function step(denoise, memory, x_t, t, s) {
    const x_0 = denoise(x_t, t);
    const euler = combine([s.alpha, x_0], [s.sigma, epsFromX0(t, x_t, x_0)]);
    if (s.sigma === 0) return [memory, euler];
    const dphi = Math.atan2(s.sigma, s.alpha) - Math.atan2(t.sigma, t.alpha);
    const norm = Math.hypot(s.alpha, s.sigma);
    return [memory, combine(
      [norm / Math.hypot(t.alpha, t.sigma), x_t],
      [(norm * dphi) / 2, velocity(t, x_t, x_0)],
      [(norm * dphi) / 2, velocity(s, euler, denoise(euler, s))],
    )];
  }
  return { init: () => null, step, stochastic: false };
}

// x_s = alpha_s f(x_t, t) + sigma_s z, of a distilled network f.
function consistency() {
  function step(denoise, memory, x_t, t, s, noise) {
    const x_0 = denoise(x_t, t);
    return [memory, s.sigma ? combine([s.alpha, x_0], [s.sigma, noise]) : x_0];
  }
  return { init: () => null, step, stochastic: true };
}

const SAMPLERS = {
  ancestral: () => ddim(1),
  ddim,
  "dpm++2m": dpmSolver2M,
  "sde-dpm++2m": sdeDpmSolver2M,
  heun,
  consistency,
};

// denoise(x_t, level) -> x_0_hat = c_skip x_t + c_out F(c_in x_t, t), of F(x, time). With `free`,
// F = F_free + guidanceScale (F_condition - F_free), classifier-free guidance.
function makeDenoise(network, free, guidanceScale) {
  return (x_t, level) => {
    const x = combine([level.c_in, x_t]);
    let output = network(x, level.time);
    if (free) {
      output = combine([1 - guidanceScale, free(x, level.time)], [guidanceScale, output]);
    }
    return combine([level.c_skip, x_t], [level.c_out, output]);
  };
}

// round(v), with halves to the even number, as NumPy does.
function roundEven(v) {
  const nearest = Math.round(v);
  return Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : nearest;
}

// The levels to visit, noise first: time_grid of diffusion/samplers.py. Spacing "time" is even in
// t; "log_snr" is even in log SNR, down to the lowest level with noise sigma / alpha >= sigmaMin.
function timeGrid(levels, steps, spacing = "time", sigmaMin = 0) {
  const T = levels.length - 1, numbers = [];
  if (spacing === "time" || steps === 1) {
    for (let i = 0; i <= steps; i++) numbers.push(roundEven(T - (T * i) / steps));
  } else {
    const logSnr = (t) => levels[t].log_snr, first = Number.isFinite(logSnr(T)) ? T : T - 1;
    let last = 1;
    while (last < first && !(Math.exp(-logSnr(last) / 2) >= sigmaMin)) last++;
    numbers.push(T);
    for (let i = 1, t = first; i < steps; i++) {
      const share = i / (steps - 1);
      const target = logSnr(first) + share * (logSnr(last) - logSnr(first));
      while (t > 1 && logSnr(t) < target) t--; // log SNR falls with t
      const above = Math.min(t + 1, first), gap = logSnr(t) - logSnr(above);
      numbers.push(roundEven(gap > 0 ? above - (target - logSnr(above)) / gap : t));
    }
    numbers.push(0);
  }
  return [...new Set(numbers)].map((t) => levels[t]);
}

// The trajectory of x from noise: {x, level} at each of `levels`, noise first.
// start: {mean f32[D], std} of x_T; normal(n) -> f32[n] standard normal numbers, and if it exists,
// normal.fresh(n) for the noise of the steps; keep(x, level): puts known points in place; x_T: in
// place of noise.
function* reverse({ denoise, sampler, levels, start, size, normal, keep = (x) => x, x_T }) {
  const dim = start.mean.length;
  const drawn = () => normal(size).map((v, i) => start.mean[i % dim] + start.std * v);
  let x = keep(x_T ?? drawn(), levels[0]);
  const fresh = normal?.fresh ?? normal;
  let memory = sampler.init(x);
  yield { x, level: levels[0] };
  for (let i = 1; i < levels.length; i++) {
    const noise = sampler.stochastic ? fresh(size) : null;
    [memory, x] = sampler.step(denoise, memory, x, levels[i - 1], levels[i], noise);
    x = keep(x, levels[i]);
    yield { x, level: levels[i] };
  }
}
