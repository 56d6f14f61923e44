// The layers of models/layers.py for one set: a matrix f32[rows, C] is a Float32Array, row by row.

// Flax's default, with tanh: 0.5 x (1 + tanh u) = x / (1 + e^-2u),
// u = sqrt(2 / pi) (x + 0.044715 x^3).
function gelu(x) {
  const c = -2 * Math.sqrt(2 / Math.PI), out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) {
    const v = x[i];
    out[i] = v / (1 + Math.exp(c * (v + 0.044715 * v * v * v)));
  }
  return out;
}

// x + y; a y of fewer numbers stands in every row.
function add(x, y) {
  const out = new Float32Array(x.length), size = y.length;
  for (let r = 0; r < x.length; r += size) {
    for (let i = 0; i < size; i++) out[r + i] = x[r + i] + y[i];
  }
  return out;
}

// (1 + scale) x + shift in every row; film f32[2 C] is [scale, shift].
function modulate(x, film) {
  const out = new Float32Array(x.length), size = film.length / 2;
  for (let r = 0; r < x.length; r += size) {
    for (let i = 0; i < size; i++) out[r + i] = (1 + film[i]) * x[r + i] + film[size + i];
  }
  return out;
}

// [sin(2 pi turns), cos(2 pi turns)] of each row, f32[rows, 2 C] of turns f32[rows, C].
function waves(turns, size) {
  const out = new Float32Array(2 * turns.length);
  for (let i = 0; i < turns.length; i++) {
    // Folded first: the angle of a turn is small, and exact to its last digits.
    const angle = 2 * Math.PI * (turns[i] - Math.round(turns[i]));
    const o = 2 * size * Math.floor(i / size) + (i % size);
    out[o] = Math.sin(angle);
    out[o + size] = Math.cos(angle);
  }
  return out;
}

// f32[numbers, 2 F]: [sin(w_i scale x), cos(w_i scale x)], w_i falling from 1 to 1 / maxPeriod.
function sinusoidal(x, numFrequencies, scale, maxPeriod) {
  const turns = new Float32Array(x.length * numFrequencies);
  for (let i = 0; i < numFrequencies; i++) {
    const exponent = i / Math.max(numFrequencies - 1, 1);
    const frequency = Math.fround((scale * maxPeriod ** -exponent) / (2 * Math.PI));
    for (let r = 0; r < x.length; r++) turns[r * numFrequencies + i] = x[r] * frequency;
  }
  return waves(turns, numFrequencies);
}

// softmax(q k^T / sqrt(d)) v over heads, f32[N, C] of q f32[N, C], k and v f32[>= M, C].
// seen(n): how many of the first keys row n looks at.
function attend(q, k, v, size, heads, seen) {
  const d = size / heads, scale = d ** -0.5;
  const out = new Float32Array(q.length);
  const weights = new Float64Array(k.length / size);
  for (let n = 0; n < q.length / size; n++) {
    const count = seen(n);
    for (let first = 0; first < size; first += d) {
      softmaxOfProducts(q, n * size + first, k, first, size, d, scale, count, weights);
      const o = n * size + first;
      for (let m = 0; m < count; m++) {
        for (let i = 0; i < d; i++) out[o + i] += weights[m] * v[m * size + first + i];
      }
    }
  }
  return out;
}

// The rotation of models/layers.py by points x f32[rows, D], or by -x (sign = -1).
function rotate(a, x, size, dim, sign, { num_heads: heads, scale, max_period: maxPeriod }) {
  const out = a.slice(), d = size / heads, pairs = Math.floor(d / 2), last = heads * pairs - 1;
  for (let pair = 0; pair <= last; pair++) {
    const head = Math.floor(pair / pairs), i = pair % pairs, axis = pair % dim;
    const exponent = (i * heads + head) / Math.max(last, 1);
    const frequency = sign * Math.fround((scale * maxPeriod ** -exponent) / (2 * Math.PI));
    for (let row = 0; row < a.length / size; row++) {
      const turns = x[row * dim + axis] * frequency;
      const angle = 2 * Math.PI * (turns - Math.round(turns));
      const cos = Math.cos(angle), sin = Math.sin(angle), first = row * size + head * d + i;
      out[first] = a[first] * cos - a[first + pairs] * sin;
      out[first + pairs] = a[first] * sin + a[first + pairs] * cos;
    }
  }
  return out;
}

function softmaxOfProducts(q, at, k, first, size, d, scale, count, weights) {
  let largest = -Infinity, total = 0;
  for (let m = 0; m < count; m++) {
    let product = 0;
    for (let i = 0; i < d; i++) product += q[at + i] * k[m * size + first + i];
    weights[m] = product * scale;
    largest = Math.max(largest, weights[m]);
  }
  for (let m = 0; m < count; m++) total += weights[m] = Math.exp(weights[m] - largest);
  for (let m = 0; m < count; m++) weights[m] /= total;
}

// x over its root mean square, each row by itself.
function unit(x, size) {
  const out = new Float32Array(x.length);
  for (let r = 0; r < x.length; r += size) {
    let square = 0;
    for (let i = 0; i < size; i++) square += x[r + i] ** 2;
    const factor = 1 / Math.sqrt(square / size + 1e-6);
    for (let i = 0; i < size; i++) out[r + i] = x[r + i] * factor;
  }
  return out;
}

// Columns `first` to `first + width - 1` of x f32[rows, size].
function columns(x, size, first, width) {
  const out = new Float32Array((x.length / size) * width);
  for (let r = 0, o = 0; r < x.length; r += size, o += width) {
    out.set(x.subarray(r + first, r + first + width), o);
  }
  return out;
}

// Matrices side by side: f32[rows, sum of widths]. One of a single row stands in all.
function concat(rows, ...parts) {
  const widths = parts.map((part) => part.width);
  const size = widths.reduce((a, b) => a + b, 0);
  const out = new Float32Array(rows * size);
  let first = 0;
  for (const { values, width } of parts) {
    const step = values.length === width ? 0 : width;
    for (let r = 0; r < rows; r++) {
      out.set(values.subarray(r * step, r * step + width), r * size + first);
    }
    first += width;
  }
  return out;
}
