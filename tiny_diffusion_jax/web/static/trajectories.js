// Where points are at any time: between the frames of web/trajectories.py, or by the formula.

const mix = (a, b, share) => a + (b - a) * share;

// A number of each frame at frame v, which need not be whole.
function between(values, v) {
  const i = Math.min(Math.floor(v), values.length - 1);
  return i + 1 < values.length ? mix(values[i], values[i + 1], v - i) : values[i];
}

// Like `between`, on a log scale if both numbers are positive.
function betweenLogs(values, v) {
  const i = Math.min(Math.floor(v), values.length - 1);
  const [a, b] = [values[i], values[Math.min(i + 1, values.length - 1)]];
  return a > 0 && b > 0 ? Math.exp(mix(Math.log(a), Math.log(b), v - i)) : mix(a, b, v - i);
}

// The reverse process: sets from noise (time 0) to data (time 1).
class Reverse {
  constructor({ frames, sizes, positions, levels, view, blocks, marks }) {
    Object.assign(this, { frames, sizes, levels, view, blocks, marks });
    const { shape, values } = unpack(positions); // [sets, points, 2 frames]
    this.numPoints = shape[1];
    this.values = values;
  }

  get numSets() {
    return this.sizes.length;
  }

  // The block that is being drawn, and the frame v of its trajectory.
  moment(set, time) {
    const count = this.blocks ? this.blocks[set].length : 1;
    const block = Math.min(Math.floor(time * count + 1e-9), count - 1);
    const share = Math.min(1, Math.max(0, time * count - block));
    return { block, count, v: share * (this.frames - 1) };
  }

  level(time, set = 0) {
    const { block, count, v } = this.moment(set, time);
    return levelAt(this.levels, v, { block, count });
  }

  // The time of the next whole step of the sampler (by = 1), or of the last one before (by = -1).
  stepped(time, by, set = 0, { block, count, v } = this.moment(set, time)) {
    const { step } = this.levels;
    const last = step[step.length - 1];
    const at = block * last + between(step, v);
    const next = by > 0 ? Math.floor(at + 1e-6) + 1 : Math.ceil(at - 1e-6) - 1;
    const to = Math.min(count * last, Math.max(0, next));
    return (Math.floor(to / last) + frameOf(step, to % last) / (this.frames - 1)) / count;
  }

  // Points of the block that is drawn at this time: [first, last + 1].
  span(set, block) {
    if (!this.blocks) return [0, this.sizes[set]];
    const given = this.marks.given;
    const end = this.blocks[set].slice(0, block + 1).reduce((a, b) => a + b, given);
    return [end - this.blocks[set][block], end];
  }

  // Writes x, y of every point of the set to `out`; NaN where there is none yet.
  positions(set, time, out) {
    const { block, v } = this.moment(set, time);
    const [first, end] = this.span(set, block);
    const last = this.frames - 1;
    for (let n = 0; n < this.sizes[set]; n++) {
      if (n >= end) out[2 * n] = out[2 * n + 1] = NaN;
      else this.point(set, n, n < first ? last : v, out);
    }
    return this.sizes[set];
  }

  point(set, n, v, out) {
    const at = 2 * this.frames * (set * this.numPoints + n);
    const i = Math.min(Math.floor(v), this.frames - 1);
    const a = at + 2 * i;
    const b = at + 2 * Math.min(i + 1, this.frames - 1);
    out[2 * n] = mix(this.values[a], this.values[b], v - i);
    out[2 * n + 1] = mix(this.values[a + 1], this.values[b + 1], v - i);
  }

  // The square that is shown: {x, y, half}.
  window(time, set = 0) {
    const { v } = this.moment(set, time);
    return windowAt(this.view, v);
  }
}

// Sets that do not move, in one window.
class StillSets {
  constructor({ points, sizes }, view) {
    const { shape, values } = unpack(points); // [sets, points, 2]
    Object.assign(this, { sizes, view, values, numPoints: shape[1], numSets: shape[0] });
  }

  positions(set, time, out) {
    out.set(this.values.subarray(2 * set * this.numPoints, 2 * (set + 1) * this.numPoints));
    return this.sizes[set];
  }

  window() {
    return this.view;
  }
}

// The sets of a snapshot of the training, at the times and in the windows of the final sets.
class SnapshotSets extends Reverse {
  constructor({ step, t, positions, sizes, blocks, field }, final) {
    const { view, levels } = final;
    super({ frames: t.length, sizes, positions, levels, view, blocks, marks: { given: 0 } });
    Object.assign(this, { trainingStep: step, t, field, final });
  }

  // As in Reverse, with `at`: the frame of the final trajectory that has the same noise level.
  moment(set, time) {
    const { block, count, v } = super.moment(set, time);
    const at = (v / (this.frames - 1)) * (this.final.frames - 1);
    return { block, count, at, v: frameOf(this.t.map((t) => -t), -between(this.levels.t, at)) };
  }

  level(time, set = 0) {
    const { block, count, at } = this.moment(set, time);
    return levelAt(this.levels, at, { block, count });
  }

  stepped(time, by, set = 0) {
    const { block, count, at } = this.moment(set, time);
    return this.final.stepped(time, by, set, { block, count, v: at });
  }

  window(time, set = 0) {
    return windowAt(this.view, this.moment(set, time).at);
  }
}

// The forward process: x_t = shift + alpha_t (x_0 - shift) + sigma_t scale eps, between noise (time 0) and data.
class Forward {
  constructor({ points, sizes, shift, scale }, reverse) {
    Object.assign(this, { sizes, shift, scale, reverse });
    const { shape, values } = unpack(points); // [sets, points, 4]: x_0 and eps
    this.numPoints = shape[1];
    this.values = values;
  }

  get numSets() {
    return this.sizes.length;
  }

  frame(time) {
    return time * (this.reverse.frames - 1);
  }

  level(time) {
    return levelAt(this.reverse.levels, this.frame(time), { block: 0, count: 1 });
  }

  stepped(time, by, set) {
    return this.reverse.stepped(time, by, set, { block: 0, count: 1, v: this.frame(time) });
  }

  positions(set, time, out) {
    const { alpha, sigma } = this.level(time);
    const { values, shift, scale } = this;
    for (let n = 0; n < this.sizes[set]; n++) {
      const at = 4 * (set * this.numPoints + n);
      for (let d = 0; d < 2; d++) {
        out[2 * n + d] =
          shift[d] + alpha * (values[at + d] - shift[d]) + sigma * scale[d] * values[at + 2 + d];
      }
    }
    return this.sizes[set];
  }

  window(time) {
    if (!this.reverse.blocks) return windowAt(this.reverse.view, this.frame(time));
    const { alpha, sigma } = this.level(time);
    const data = windowAt(this.reverse.view, this.reverse.frames - 1);
    return { ...data, half: Math.hypot(alpha * data.half, 2.8 * sigma * this.scale[0]) };
  }
}

// The frame, which need not be whole, of a step of the sampler.
function frameOf(steps, to) {
  const next = steps.findIndex((step) => step > to);
  if (next < 0) return steps.length - 1;
  const i = Math.max(0, next - 1);
  return i + (to - steps[i]) / (steps[i + 1] - steps[i]);
}

function levelAt({ T, t, step, alpha, sigma }, v, more) {
  const level = { t: between(t, v) / T, alpha: between(alpha, v), sigma: betweenLogs(sigma, v) };
  Object.assign(level, { step: between(step, v), steps: step[step.length - 1] });
  return { ...level, logSnr: 2 * Math.log(level.alpha / level.sigma), ...more };
}

function windowAt({ centre, half }, v) {
  return {
    x: between(
      centre.map((c) => c[0]),
      v,
    ),
    y: between(
      centre.map((c) => c[1]),
      v,
    ),
    half: betweenLogs(half, v),
  };
}
