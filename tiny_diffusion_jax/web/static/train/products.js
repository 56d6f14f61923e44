// Matrix products, the only expensive part of a training step.

// C[m, n] += sum_k A[m, k] B[k, n] for f32 arrays: C and B are [M, N] and [K, N] row by row, and
// A[m, k] = a[m aRow + k aColumn], so that A may be a transposed matrix. Four rows and four columns
// of C at a time stay in registers.
function addProduct(a, aRow, aColumn, b, c, M, K, N) {
  for (let m = 0; m < M; m += 4) {
    for (let n = 0; n < N; n += 4) {
      if (m + 4 <= M && n + 4 <= N) addTile(a, aRow, aColumn, b, c, m, K, n, N);
      else addEntries(a, aRow, aColumn, b, c, m, Math.min(m + 4, M), K, n, Math.min(n + 4, N), N);
    }
  }
}

function addTile(a, aRow, aColumn, b, c, m, K, n, N) {
  let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
  let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
  let i = m * aRow, j = n;
  for (let k = 0; k < K; k++, i += aColumn, j += N) {
    const b0 = b[j], b1 = b[j + 1], b2 = b[j + 2], b3 = b[j + 3];
    const a0 = a[i], a1 = a[i + aRow], a2 = a[i + 2 * aRow], a3 = a[i + 3 * aRow];
    c00 += a0 * b0; c01 += a0 * b1; c02 += a0 * b2; c03 += a0 * b3;
    c10 += a1 * b0; c11 += a1 * b1; c12 += a1 * b2; c13 += a1 * b3;
    c20 += a2 * b0; c21 += a2 * b1; c22 += a2 * b2; c23 += a2 * b3;
    c30 += a3 * b0; c31 += a3 * b1; c32 += a3 * b2; c33 += a3 * b3;
  }
  let o = m * N + n;
  c[o] += c00; c[o + 1] += c01; c[o + 2] += c02; c[o + 3] += c03; o += N;
  c[o] += c10; c[o + 1] += c11; c[o + 2] += c12; c[o + 3] += c13; o += N;
  c[o] += c20; c[o + 1] += c21; c[o + 2] += c22; c[o + 3] += c23; o += N;
  c[o] += c30; c[o + 1] += c31; c[o + 2] += c32; c[o + 3] += c33;
}

// The rows and columns of C that fill no tile.
function addEntries(a, aRow, aColumn, b, c, first, last, K, left, right, N) {
  for (let m = first; m < last; m++) {
    for (let n = left; n < right; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += a[m * aRow + k * aColumn] * b[k * N + n];
      c[m * N + n] += sum;
    }
  }
}

// Transpose `to` f32[columns, rows] of `from` f32[rows, columns].
function transpose(from, to, rows, columns) {
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c];
  }
}

// Put the row `bias` f32[size] into every row of `to`.
function fillRows(to, bias) {
  for (let r = 0; r < to.length; r += bias.length) to.set(bias, r);
}

// Add the sum of the rows of `from` to `to` f32[size].
function addRows(from, to) {
  const size = to.length;
  for (let r = 0; r < from.length; r += size) for (let i = 0; i < size; i++) to[i] += from[r + i];
}
