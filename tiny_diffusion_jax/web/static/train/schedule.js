// Noise levels: the schedules of diffusion/schedules.py, and the EDM coefficients and the law of
// levels of diffusion/process.py, for data of mean 0 and variance 1.

const NUM_LEVELS = 1000;
const KARRAS = { min: 0.002, max: 12, rho: 7 }; // the default config
const BETA = { min: 1e-4, max: 0.02 };

// Variance-preserving [alpha, sigma] for t = 0..T of beta_1..beta_T.
function fromBetas(beta) {
  let sum = 0;
  const logAlphaBar = [0, ...beta.map((b) => (sum += Math.log1p(-b)))];
  const alpha = logAlphaBar.map((v) => Math.exp(v / 2));
  return [alpha, logAlphaBar.map((v) => Math.sqrt(-Math.expm1(v)))];
}

const upTo = (last, value) => Array.from({ length: last + 1 }, (_, i) => value(i));

// name -> [alpha, sigma] for t = 0..T
const SCHEDULES = {
  karras(T) {
    const { min, max, rho } = KARRAS, low = min ** (1 / rho), high = max ** (1 / rho);
    const sigma = (t) => (t ? (high + ((T - t) / Math.max(T - 1, 1)) * (low - high)) ** rho : 0);
    return [upTo(T, () => 1), upTo(T, sigma)];
  },
  cosine(T) {
    const f = upTo(T, (t) => Math.cos((((t / T + 0.008) / 1.008) * Math.PI) / 2) ** 2);
    return fromBetas(f.slice(1).map((v, i) => Math.min(1 - v / f[i], 0.999)));
  },
  linear: (T) => fromBetas(upTo(T - 1, (i) => BETA.min + ((BETA.max - BETA.min) * i) / (T - 1))),
  flow: (T) => [upTo(T, (t) => 1 - t / T), upTo(T, (t) => t / T)],
};

// Levels t = 0..T as live/samplers.js uses them. The network's output is trained to be
// (x_0 - c_skip x_t) / c_out, with x_t = alpha x_0 + sigma eps.
function makeLevels(name, T = NUM_LEVELS) {
  const [alphas, sigmas] = SCHEDULES[name](T);
  return alphas.map((value, t) => {
    const alpha = Math.fround(value), sigma = Math.fround(sigmas[t]);
    const norm = Math.hypot(alpha, sigma);
    return {
      time: t / T, alpha, sigma, log_snr: 2 * (Math.log(alpha) - Math.log(sigma)),
      c_in: 1 / norm, c_skip: alpha / norm ** 2, c_out: sigma / norm,
    };
  });
}

// Levels i32[B], stratified over 1..T: t_i = 1 + floor(T (u + i / B mod 1)) (draw_times).
function drawTimes(u, sets, T) {
  return Int32Array.from({ length: sets }, (_, i) =>
    Math.min(T, 1 + Math.floor(((u + i / sets) % 1) * T)));
}
