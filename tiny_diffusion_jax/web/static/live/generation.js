// From a network to whole sets, by the strategies of sets/. Each is a generator of frames
//   {x f32[n, D], level, placed f32[m, D], contexts}    x at `level`, after the points `placed`
// that returns the whole set, all in the network's units. contexts: [of the condition, of what is
// guided away from], with which the network denoises x. With no points given it draws a new set.
// asked: {given f32[m, D], label, numPoints, guidanceScale, sampler, numSteps, spacing}; without
// a spacing, the spacing of the model's options.

const STRATEGIES = { independent, joint, autoregressive, causal, latent };

// denoise(x_t, level) of points with a context, or two of them for guidance.
function denoiseWith({ network }, [context, free], guidanceScale) {
  const given = (context) => (x, time) => network.apply(x, time, context);
  return makeDenoise(given(context), free && given(free), guidanceScale);
}

// One reverse process for `size` points with these contexts.
function* drawPoints(model, asked, normal, placed, size, contexts, more = {}) {
  const { dim } = model, frames = reverse({
    denoise: denoiseWith(model, contexts, asked.guidanceScale),
    sampler: SAMPLERS[asked.sampler](model.sample.eta), levels: path(model, asked, model.levels),
    start: model.start, size: size * dim, normal, ...more,
  });
  let x;
  for (const frame of frames) {
    ({ x } = frame);
    yield { ...frame, placed, contexts };
  }
  return x;
}

// The context of a condition and, where guidance wants it, of what is guided away from.
function contexts({ network, guides }, asked, condition) {
  const guide = ["label", "history"].find((name) => condition[name] != null);
  const isGuided = asked.guidanceScale !== 1 && guides.includes(guide);
  const free = isGuided && network.given({ ...condition, [guide]: null });
  return [network.given(condition), free];
}

function path({ sample }, { numSteps, spacing = sample.spacing }, levels) {
  return timeGrid(levels, numSteps, spacing, sample.sigma_min);
}

function joined(...parts) {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}

// Points that do not see each other; asked.x_T: that begin there.
function* independent(model, asked, normal) {
  const both = contexts(model, asked, { label: asked.label, count: asked.numPoints });
  const { x_T } = asked, size = x_T ? x_T.length / model.dim : asked.numPoints;
  return yield* drawPoints(model, asked, normal, new Float32Array(0), size, both, { x_T });
}

// All points together. Given ones, and copies of them that weigh as much as all the others, are
// put in place, noised, in every step.
function* joint(model, asked, normal) {
  const { dim } = model, { given, numPoints } = asked, n = given.length / dim;
  const rows = numPoints + (n ? Math.ceil(numPoints / n) * n : 0), known = [];
  for (let row = 0; row < (n && rows); row++) {
    if (row < n || row >= numPoints) known.push([row, row < n ? row : (row - numPoints) % n]);
  }
  const keep = (x, { alpha, sigma }) => {
    const noise = (normal.fresh ?? normal)(rows * dim), kept = x.slice();
    for (const [row, from] of known) {
      for (let d = 0; d < dim; d++) {
        kept[row * dim + d] = alpha * given[from * dim + d] + sigma * noise[row * dim + d];
      }
    }
    return kept;
  };
  const both = contexts(model, asked, { label: asked.label, count: numPoints });
  const frames = drawPoints(model, asked, normal, given, rows, both, n ? { keep } : {});
  const shown = (x) => x.subarray(n * dim, numPoints * dim);
  let frame = frames.next();
  for (; !frame.done; frame = frames.next()) yield { ...frame.value, x: shown(frame.value.x) };
  return joined(given, shown(frame.value));
}

// Points of each block: max(first_block, (growth - 1) n) where n come before it.
function blockSizes({ first_block: firstBlock, growth }, filled, end) {
  const sizes = [];
  while (filled < end) {
    const size = Math.max(firstBlock, Math.floor((growth - 1) * filled));
    sizes.push(Math.min(size, end - filled));
    filled += sizes.at(-1);
  }
  return sizes;
}

// Block after block, each given the points so far; the first burn_in points are thrown away.
function* autoregressive(model, asked, normal) {
  const { dim, sample } = model, burnIn = asked.given.length ? 0 : sample.burn_in;
  const n = asked.given.length / dim, sizes = [
    ...blockSizes(sample, 0, burnIn), ...blockSizes(sample, burnIn + n, burnIn + asked.numPoints),
  ];
  let points = asked.given;
  for (const size of sizes) {
    const history = points.subarray(Math.max(0, points.length - sample.max_history * dim));
    const both = contexts(model, asked, { label: asked.label, count: asked.numPoints, history });
    const placed = points.subarray(burnIn * dim);
    points = joined(points, yield* drawPoints(model, asked, normal, placed, size, both));
  }
  return points.subarray(burnIn * dim);
}

// Points f32[n, 2] in the order of sets/order.py; unchanged if the model has no order.
function inOrder(points, { sort_keys: keys, shift, scale }) {
  const value = (i, { axis, falls, height }) => {
    const own = points[2 * i + axis] * scale[axis] + shift[axis];
    return (falls ? -1 : 1) * (height ? Math.floor(own / height) : own);
  };
  const order = Array.from({ length: points.length / 2 }, (_, i) => i)
    .sort((i, j) => keys.reduce((found, key) => found || value(i, key) - value(j, key), 0));
  return Float32Array.from(order.flatMap((i) => [points[2 * i], points[2 * i + 1]]));
}

// Block after block, given what the transformer makes of the points so far. Guidance is between
// two caches: one with the label, and one without.
function* causal(model, asked, normal) {
  const { network, dim, sample } = model, { label, numPoints } = asked;
  const isGuided = asked.guidanceScale !== 1 && label != null && model.guides.includes("label");
  const extended = (caches, ...added) => caches.map((cache) => network.extend(cache, ...added));
  let caches = (isGuided ? [label, null] : [label]).map(
    (of) => network.begin(numPoints, { label: of, count: numPoints }));
  let points = inOrder(asked.given, model);
  if (points.length) caches = extended(caches, points, true);
  for (const size of blockSizes(sample, points.length / dim, numPoints)) {
    const both = caches.map((cache) => network.given(cache));
    const drawn = yield* drawPoints(model, asked, normal, points, size, both);
    points = joined(points, drawn);
    if (points.length < numPoints * dim) caches = extended(caches, drawn);
  }
  return points;
}

// A latent for the set first, by its own reverse process or from the given points, then points.
function* latent(model, asked, normal) {
  const { network, dim, guides } = model, { given, numPoints, label } = asked;
  let z;
  if (given.length) {
    z = network.encode(given);
  } else {
    const prior = { network: network.prior, guides };
    const [context, free] = contexts(prior, asked, { label, count: numPoints });
    const of = (known) => (x, time) => network.prior.apply(x, time, known);
    const size = model.options.latent_dim;
    for (const { x } of reverse({
      denoise: makeDenoise(of(context), free && of(free), asked.guidanceScale),
      sampler: SAMPLERS[asked.sampler](model.sample.eta),
      levels: path(model, asked, model.latentLevels),
      start: model.latentStart, size, normal,
    })) z = x;
  }
  const noise = model.options.latent_noise, eps = normal(z.length);
  z = z.map((value, i) => value + noise * eps[i]);  // the decoder was trained with this blur
  const both = [network.given({ latent: z })], size = numPoints - given.length / dim;
  // asked.noise: in place of the noise of points, for a comparison with another model
  const more = asked.noise ? { x_T: asked.noise.map((v) => model.start.std * v) } : {};
  return joined(given, yield* drawPoints(model, asked, normal, given, size, both, more));
}
