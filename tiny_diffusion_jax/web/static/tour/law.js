// Densities that are known exactly, so no network is needed: mixtures of Gaussians N(m_k, s^2 I).
// A noised point x_t = alpha x_0 + sigma eps has the density
//   p_t(x) = sum_k w_k N(x; alpha m_k, v I),    v = alpha^2 s^2 + sigma^2                      (1)
//   E[x_0 | x_t = x] = (1 - alpha g) sum_k p(k | x) m_k + g x,    g = alpha s^2 / v            (2)
//   div_x E[x_0 | x] = 2 g + (1 - alpha g) (alpha / v) trace Cov[m_k | x]                      (3)

const FAR = 40; // exp(-FAR) of the nearest component is not added

class Law {
  // points f32[K, 2]: the means m_k; std: s; weights f64[K], equal if left out.
  constructor(points, std, weights) {
    const count = points.length / 2;
    weights ??= new Float64Array(count).fill(1 / count);
    Object.assign(this, { points, std, count, logWeights: weights.map(Math.log) });
    this.share = new Float64Array(count); // p(k | x) of the latest point
  }

  // {logDensity, x_0: [x, y], divergence} of one noisy point: equations (1) to (3).
  at(x, y, { alpha, sigma }) {
    const { points, share, count, logWeights } = this, v = (alpha * this.std) ** 2 + sigma ** 2;
    let most = -Infinity;
    for (let k = 0; k < count; k++) {
      const dx = x - alpha * points[2 * k], dy = y - alpha * points[2 * k + 1];
      share[k] = logWeights[k] - (dx * dx + dy * dy) / (2 * v);
      if (share[k] > most) most = share[k];
    }
    let sum = 0, meanX = 0, meanY = 0, square = 0;
    for (let k = 0; k < count; k++) {
      if (share[k] < most - FAR) {
        share[k] = 0;
        continue;
      }
      const p = Math.exp(share[k] - most), mx = points[2 * k], my = points[2 * k + 1];
      share[k] = p;
      sum += p;
      meanX += p * mx;
      meanY += p * my;
      square += p * (mx * mx + my * my);
    }
    for (let k = 0; k < count; k++) share[k] /= sum;
    [meanX, meanY] = [meanX / sum, meanY / sum];
    const g = (alpha * this.std ** 2) / v, rest = 1 - alpha * g;
    const spread = square / sum - meanX ** 2 - meanY ** 2;
    return {
      logDensity: most + Math.log(sum) - Math.log(2 * Math.PI * v),
      x_0: [rest * meanX + g * x, rest * meanY + g * y],
      divergence: 2 * g + ((rest * alpha) / v) * spread,
    };
  }

  // The ideal denoiser E[x_0 | x_t] of points f32[n, 2].
  denoise(x_t, level) {
    const out = new Float32Array(x_t.length);
    for (let i = 0; i < x_t.length; i += 2) out.set(this.at(x_t[i], x_t[i + 1], level).x_0, i);
    return out;
  }

  // log p_t f64[n] of points f32[n, 2].
  logDensities(x, level) {
    return Float64Array.from({ length: x.length / 2 }, (_, i) =>
      this.at(x[2 * i], x[2 * i + 1], level).logDensity);
  }

  // Draw points f32[count, 2] of p_0.
  draw(count, random) {
    const out = new Float32Array(2 * count);
    for (let i = 0; i < count; i++) {
      const k = random.below(this.count);
      for (let d = 0; d < 2; d++) {
        out[2 * i + d] = this.points[2 * k + d] + this.std * random.normal();
      }
    }
    return out;
  }
}

// Sets whose points all come from one of several laws, with equal probabilities (tests/oracle.py).
class SetLaw {
  constructor(members) {
    const all = members.flatMap(({ points }) => [...points]);
    const weights = members.flatMap(({ count }) =>
      Array(count).fill(1 / (members.length * count)));
    this.members = members;
    this.single = new Law(Float32Array.from(all), members[0].std, Float64Array.from(weights));
  }

  // p(k | x_i) of one point: a list with a number for each member.
  ofPoint(x, y, level) {
    return softmax(this.members.map((law) => law.at(x, y, level).logDensity));
  }

  // p(k | X_t, given) of a set f32[n, 2] and of clean points f32[m, 2].
  ofSet(x, level, given = []) {
    return softmax(this.members.map((law) =>
      total(law.logDensities(x, level)) + total(law.logDensities(given, CLEAN))));
  }

  // The ideal denoiser of whole sets: E[x_0i | X_t] = sum_k p(k | X_t) E_k[x_0 | x_ti].
  denoise(x_t, level, given = []) {
    const guesses = this.members.map((law) => {
      const x_0 = new Float32Array(x_t.length);
      let log = total(law.logDensities(given, CLEAN));
      for (let i = 0; i < x_t.length; i += 2) {
        const point = law.at(x_t[i], x_t[i + 1], level);
        x_0.set(point.x_0, i);
        log += point.logDensity;
      }
      return { x_0, log };
    });
    const shares = softmax(guesses.map(({ log }) => log)), out = new Float32Array(x_t.length);
    guesses.forEach(({ x_0 }, k) => x_0.forEach((v, i) => (out[i] += shares[k] * v)));
    return out;
  }
}

const CLEAN = { alpha: 1, sigma: 0 };
const total = (values) => values.reduce((sum, v) => sum + v, 0);

function softmax(logs) {
  const most = Math.max(...logs), powers = logs.map((v) => Math.exp(v - most));
  return powers.map((v) => v / total(powers));
}

// x_t f32[n, 2] at each step from standard normal `noise` f32[n, 2], divided by the spread of x_t.
// options: {steps, sampler, normal}; normal(n) draws fresh noise for samplers that need it.
function trajectories(denoise, noise, levels, { steps, sampler = "dpm++2m", normal }) {
  const last = levels.at(-1), spread = (level) => Math.hypot(level.alpha, level.sigma);
  const frames = reverse({
    denoise, sampler: SAMPLERS[sampler](0), levels: timeGrid(levels, steps),
    start: { mean: [0, 0], std: spread(last) }, size: noise.length, normal,
    x_T: noise.map((v) => spread(last) * v),
  });
  return Array.from(frames, ({ x, level }) => x.map((v) => v / spread(level)));
}

// Follow the ODE dx / dlog nu = x - E[x_0 | x] (alpha = 1, nu = sigma) from a point to noise, as
// diffusion/ode_likelihood.py does it. Returns {logDensity, path: [x, y, nu, ...]}.
function odeLikelihood(law, [x, y], levels, steps) {
  const [first, last] = [levels[1], levels.at(-1)].map(({ sigma }) => Math.log(sigma));
  const h = (last - first) / steps, path = [x, y, Math.exp(first)];
  let sum = 0;
  for (let i = 0; i < steps; i++) {
    let [kx, ky] = [0, 0], dx = 0, dy = 0;
    [[0, 1], [0.5, 2], [0.5, 2], [1, 1]].forEach(([part, weight]) => {
      const sigma = Math.exp(first + (i + part) * h);
      const [px, py] = [x + part * h * kx, y + part * h * ky];
      const { x_0, divergence } = law.at(px, py, { alpha: 1, sigma });
      [kx, ky] = [px - x_0[0], py - x_0[1]];
      dx += (weight / 6) * kx;
      dy += (weight / 6) * ky;
      sum += ((h * weight) / 6) * (2 - divergence);
    });
    [x, y] = [x + h * dx, y + h * dy];
    path.push(x, y, Math.exp(first + (i + 1) * h));
  }
  const variance = 1 + Math.exp(2 * last); // of x_T, for data of variance 1
  const logLast = -(x * x + y * y) / (2 * variance) - Math.log(2 * Math.PI * variance);
  return { logDensity: logLast + sum, path };
}
