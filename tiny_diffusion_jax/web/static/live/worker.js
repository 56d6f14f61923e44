// The thread that samples, so that the page stays responsive.
// In:  {load: model}, {job, asked, seed} or {trace, asked, seed}
// Out: {job, frames}, in the end with the seconds it took, or {trajectory}

const NETWORKS = {
  fourier_mlp: FourierMLP, history: HistoryDenoiser, causal: Causal, set_latent: SetLatent,
  set_transformer: SetTransformer,
};
const POST = 16, PAUSE = 100; // ms between posts, and between looks at messages

// What web/weights.py made, ready to be sampled.
function loadModel(packed) {
  const { network, options, dim, sigma_data: sigmaData, data_mean: dataMean } = packed;
  const levels = loadLevels(packed.levels), { alpha, sigma } = levels.at(-1);
  return {
    ...packed, levels, latentLevels: loadLevels(packed.latent_levels),
    network: new NETWORKS[network](loadWeights(packed.weights), options, dim),
    start: { mean: dataMean.map((m) => alpha * m), std: Math.hypot(alpha * sigmaData, sigma) },
    latentStart: { mean: [0], std: Math.hypot(alpha, sigma) },  // latents have variance 1
  };
}

// A list of levels of the table f32[T + 1, 6].
function loadLevels(packed) {
  const { values } = unpackWeights(packed);
  return Array.from({ length: values.length / 6 }, (_, t) => {
    const [time, alpha, sigma, c_in, c_skip, c_out] = values.subarray(6 * t, 6 * t + 6);
    // The difference of logs: sigma_0 may be -0, and alpha / -0 has no log.
    const log_snr = 2 * (Math.log(alpha) - Math.log(sigma));
    return { time, alpha, sigma, log_snr, c_in, c_skip, c_out };
  });
}

// n standard normal numbers a call; they follow from the seed (mulberry32, Box-Muller).
function gaussian(seed) {
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const one = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return (n) => Float32Array.from({ length: n }, one);
}

// As it is drawn: x_t is stretched to the spread of the data, or noise would fill the plane.
function inView(model, { x, level }) {
  const { sigma_data: sigmaData, data_mean: mean, dim } = model;
  const factor = sigmaData / Math.hypot(level.alpha * sigmaData, level.sigma);
  return x.map((v, i) => mean[i % dim] + factor * (v - level.alpha * mean[i % dim]));
}

// The noise that is drawn at `point`, f32[D].
function fromView(model, point) {
  const { sigma_data: sigmaData, data_mean: mean, start } = model;
  return point.map((v, d) => start.mean[d] + (start.std / sigmaData) * (v - mean[d]));
}

if (typeof WorkerGlobalScope !== "undefined") {
  let model, current;

  const run = async ({ job, asked, seed }) => {
    const began = performance.now();
    let posted = began, paused = began, frames = [];
    const post = (more) => {
      postMessage({ job, frames, ...more });
      frames = [];
      posted = performance.now();
    };
    for (const frame of STRATEGIES[model.strategy](model, asked, gaussian(seed))) {
      frames.push({ x: inView(model, frame), placed: frame.placed, time: frame.level.time });
      if (performance.now() - posted > POST) post();
      if (performance.now() - paused < PAUSE) continue;
      await new Promise((resume) => setTimeout(resume));
      if (job !== current) return;
      paused = performance.now();
    }
    post({ seconds: (performance.now() - began) / 1000 });
  };

  const preview = ({ job, asked, seed }) => {
    const set = STRATEGIES[model.strategy](model, asked, gaussian(seed));
    let frame = set.next();
    while (!frame.done) frame = set.next();
    postMessage({ job, preview: frame.value });
  };

  const trace = ({ trace: point, asked, seed }) => {
    const one = { ...asked, x_T: fromView(model, point) };
    const trajectory = [...independent(model, one, gaussian(seed))].map((frame) => inView(model, frame));
    postMessage({ trajectory: joined(...trajectory) });
  };

  onmessage = ({ data }) => {
    if (data.load) {
      current = undefined;
      model = loadModel(data.load);
    } else if (data.trace) {
      trace(data);
    } else if (data.isPreview) {
      current = undefined;
      preview(data);
    } else {
      current = data.job;
      run(data);
    }
  };
}
