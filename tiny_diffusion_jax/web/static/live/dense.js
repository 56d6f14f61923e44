// Dense layers x W + b, in WebAssembly with vectors of four floats if the browser has them. Without
// them, and for layers whose width is no multiple of four, sums of dot products in JavaScript.

const CHUNK = 256; // rows that are multiplied at once; their input and output stay in the cache

// {heap, product, input, output} for the layers of a tree of packed weights; null without vectors.
function makeVectors(tree) {
  const shapes = kernelShapes(tree), widest = Math.max(1, ...shapes.flat());
  const numbers = shapes.reduce((sum, [size, out]) => sum + size * out + 4, 2 * CHUNK * widest + 8);
  try {
    const { heap, product } = makeSimd(4 * numbers + PAGE);
    const rows = () => heap.floats(CHUNK * widest);
    return { heap, product, input: rows(), output: rows() };
  } catch {
    return null;
  }
}

// Shapes [in, out] of all dense layers.
function kernelShapes(tree) {
  if (tree.kernel) return [tree.kernel.shape];
  return tree.data === undefined ? Object.values(tree).flatMap(kernelShapes) : [];
}

// {kernel, bias, in, out, vectors} of a dense layer. With vectors its kernel is f32[in, out];
// without them it is f32[out, in], because a dot product reads its row in order.
function loadDense({ kernel, bias }, vectors) {
  const [size, out] = kernel.shape, { values } = unpackWeights(kernel);
  const layer = { bias: bias && unpackWeights(bias).values, in: size, out };
  if (vectors && out % 4 === 0) {
    const inMemory = vectors.heap.floats(values.length);
    inMemory.set(values);
    return { ...layer, kernel: inMemory, vectors };
  }
  const turned = new Float32Array(values.length);
  transpose(values, turned, size, out);
  return { ...layer, kernel: turned };
}

// The tree of weights as Flax names it, with dense layers of `loadDense`.
function loadWeights(tree, vectors = null) {
  if (tree.data !== undefined) return unpackWeights(tree).values;
  if (tree.kernel) return loadDense(tree, vectors);
  return Object.fromEntries(
    Object.entries(tree).map(([name, part]) => [name, loadWeights(part, vectors)]));
}

// x W + b, f32[rows, out] of x f32[rows, in].
function dense(x, layer) {
  const rows = x.length / layer.in, y = new Float32Array(rows * layer.out);
  if (layer.vectors) return multiplyChunks(x, layer, y, rows);
  const inFours = rows - (rows % 4);
  for (let r = 0; r < inFours; r += 4) fourRows(x, layer, y, r);
  for (let r = inFours; r < rows; r++) oneRow(x, layer, y, r);
  return y;
}

function multiplyChunks(x, { kernel, bias, in: size, out, vectors }, y, rows) {
  for (let r = 0; r < rows; r += CHUNK) {
    const n = Math.min(CHUNK, rows - r), output = vectors.output.subarray(0, n * out);
    vectors.input.set(rows === n ? x : x.subarray(r * size, (r + n) * size));
    if (bias) fillRows(output, bias);
    else output.fill(0);
    vectors.product(vectors.input, size, 1, kernel, output, n, size, out);
    y.set(output, r * out);
  }
  return y;
}

// Sums stay in registers: four rows by two columns need six loads for eight products.
function fourRows(x, { kernel, bias, in: size, out }, y, r) {
  const a = r * size, b = a + size, c = b + size, d = c + size;
  for (let j = 0; j < out; j += 2) {
    const p = j * size, q = j + 1 < out ? p + size : p;
    let a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
    for (let k = 0; k < size; k++) {
      const u = kernel[p + k], v = kernel[q + k];
      const xa = x[a + k], xb = x[b + k], xc = x[c + k], xd = x[d + k];
      a0 += xa * u; a1 += xa * v; b0 += xb * u; b1 += xb * v;
      c0 += xc * u; c1 += xc * v; d0 += xd * u; d1 += xd * v;
    }
    const first = bias ? bias[j] : 0, o = r * out + j;
    y[o] = a0 + first; y[o + out] = b0 + first;
    y[o + 2 * out] = c0 + first; y[o + 3 * out] = d0 + first;
    if (j + 1 === out) continue;
    const second = bias ? bias[j + 1] : 0;
    y[o + 1] = a1 + second; y[o + out + 1] = b1 + second;
    y[o + 2 * out + 1] = c1 + second; y[o + 3 * out + 1] = d1 + second;
  }
}

function oneRow(x, { kernel, bias, in: size, out }, y, r) {
  const a = r * size;
  for (let j = 0; j < out; j++) {
    const p = j * size;
    let s0 = 0, s1 = 0, k = 0;
    for (; k + 1 < size; k += 2) {
      s0 += x[a + k] * kernel[p + k];
      s1 += x[a + k + 1] * kernel[p + k + 1];
    }
    if (k < size) s0 += x[a + k] * kernel[p + k];
    y[r * out + j] = s0 + s1 + (bias ? bias[j] : 0);
  }
}
