// The thread that samples, so that the page stays responsive.
// In:  {load: model}
//      {job, asked, seed}             draw a set; `isPreview`: only its last frame
//      {job, field: i}                the field at frame i of the set that is drawn
//      {job, trace: point, asked}     the trajectory of one point of noise
//      {job, whole: side, asked}      all frames of a set in one message
//      {job, curve: true, asked}      errors of samplers, see live/convergence.js
// Out: {job, frames: [{x, placed, time}, ...]}, in the end with the seconds that it took;
//      {job, preview: set}, {job, field, frame}, {job, trajectory}, {job, whole: side, frames, set},
//      {job, curve: {sampler, numSteps, error}}, in the end {job, curve: null}

const NETWORKS = {
  fourier_mlp: FourierMLP, history: HistoryDenoiser, causal: Causal, set_latent: SetLatent,
  set_transformer: SetTransformer,
};
const POST = 16, PAUSE = 100; // ms between posts, and between looks at messages

// Unpack a result of web/live.py: live_model, so that it can be sampled.
function loadModel(packed) {
  const { network, weights, options, dim, sigma_data: sigmaData, data_mean: dataMean } = packed;
  const levels = loadLevels(packed.levels), { alpha, sigma } = levels.at(-1);
  return {
    ...packed, levels, latentLevels: packed.latent_levels && loadLevels(packed.latent_levels),
    network: new NETWORKS[network](loadWeights(weights, makeVectors(weights)), options, dim),
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

// normal(n) -> f32[n] of the start, and normal.fresh(n) of the steps of a stochastic sampler. The
// streams are apart, so that two samplers start each block of a set from the same noise.
function noiseOf(seed) {
  const start = new Random(seed), steps = new Random(seed ^ 0x5bd1e995);
  return Object.assign((n) => start.normals(n), { fresh: (n) => steps.normals(n) });
}

// All frames of a set, and the set.
function wholeSet(model, asked, seed) {
  const frames = [], set = STRATEGIES[model.strategy](model, asked, noiseOf(seed));
  let frame = set.next();
  for (; !frame.done; frame = set.next()) frames.push(frame.value);
  return { frames, set: frame.value };
}

if (typeof WorkerGlobalScope !== "undefined") {
  let model, current, kept = []; // kept: of each frame of the current set, its level and contexts

  const run = async ({ job, asked, seed }) => {
    const began = performance.now();
    let posted = began, paused = began, frames = [];
    const post = (more) => {
      postMessage({ job, frames, ...more });
      frames = [];
      posted = performance.now();
    };
    kept = [];
    for (const frame of STRATEGIES[model.strategy](model, asked, noiseOf(seed))) {
      const { level, contexts, placed } = frame;
      kept.push({ level, contexts, guidanceScale: asked.guidanceScale });
      frames.push({ x: inView(model, frame), placed, time: level.time });
      if (performance.now() - posted > POST) post();
      if (performance.now() - paused < PAUSE) continue;
      await new Promise((resume) => setTimeout(resume));
      if (job !== current) return;
      paused = performance.now();
    }
    post({ seconds: (performance.now() - began) / 1000 });
  };

  // There is no field without noise: a last frame has the field of the frame before.
  const field = ({ job, field: i }) => {
    if (job !== current || !kept[i]) return;
    const { level, contexts, guidanceScale } = kept[kept[i].level.sigma ? i : i - 1];
    postMessage({ job, frame: i, field: fieldOf(model, contexts, level, guidanceScale) });
  };

  const trace = ({ job, trace: point, asked, seed }) => {
    const one = { ...asked, x_T: fromView(model, point, model.levels.at(-1)) };
    const { frames } = wholeSet(model, one, seed);
    postMessage({ job, trajectory: joined(...frames.map((frame) => inView(model, frame))) });
  };

  const whole = ({ job, asked, seed, whole: side }) => {
    const { frames, set } = wholeSet(model, asked, seed);
    const shown = frames.map((frame) => (
      { x: inView(model, frame), placed: frame.placed, time: frame.level.time }));
    postMessage({ job, whole: side, frames: shown, set });
  };

  // Another set or curve ends this curve.
  const curve = async ({ job, asked, seed }) => {
    for (const point of convergence(model, asked, seed)) {
      postMessage({ job, curve: point });
      await new Promise((resume) => setTimeout(resume));
      if (job !== current) return;
    }
    postMessage({ job, curve: null });
  };

  // An error in an async function would not reach the page.
  onunhandledrejection = ({ reason }) => setTimeout(() => {
    throw reason;
  });

  onmessage = ({ data }) => {
    const { job, asked, seed } = data;
    if (data.load) {
      current = undefined;
      model = loadModel(data.load);
    } else if (data.trace) {
      trace(data);
    } else if (data.field !== undefined) {
      field(data);
    } else if (data.whole) {
      current = job;
      whole(data);
    } else if (data.curve) {
      current = job;
      curve(data);
    } else if (data.isPreview) {
      current = undefined;
      postMessage({ job, preview: wholeSet(model, asked, seed).set });
    } else {
      current = job;
      run(data);
    }
  };
}
