// The matrix product in WebAssembly with vectors of four floats (SIMD). The module is assembled
// here, so that the page needs no binary file. One function adds one tile of C += A B:
//   tile(a, aRow, aColumn, b, row, c, K)    addresses and strides in bytes; `row`: of B and C
// A tile has `rows` rows and `vectors` x 4 columns, which stay in registers over all k.

const I32 = 0x7f, V128 = 0x7b, PARAMETERS = 7;
const TILES = [[4, 2], [4, 1], [1, 8], [1, 2], [1, 1]]; // [rows, vectors]

// A number in LEB128, unsigned. All numbers here are positive and below 64 where a sign matters.
function leb(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)];
}

const section = (id, bytes) => [id, ...leb(bytes.length), ...bytes];
const listed = (parts) => [...leb(parts.length), ...parts.flat()];

// Instructions of WebAssembly, by their names in the text format.
const get = (local) => [0x20, ...leb(local)];
const set = (local) => [0x21, ...leb(local)];
const simd = (code, ...rest) => [0xfd, ...leb(code), ...rest];
const load = (offset) => simd(0x00, 2, ...leb(offset)); // v128.load
const loadSplat = simd(0x09, 2, 0); // v128.load32_splat
const store = (offset) => simd(0x0b, 2, ...leb(offset)); // v128.store
const addVectors = simd(0xe4), multiplyVectors = simd(0xe6); // f32x4.add, f32x4.mul
const addTo = (local, step) => [...get(local), ...get(step), 0x6a, ...set(local)]; // i32.add

// The body of `tile`. Locals: the parameters, an address of A for each row, then vectors.
function tileBody(rows, vectors) {
  const [a, aRow, aColumn, b, row, c, K] = Array.from({ length: PARAMETERS }, (_, i) => i);
  const address = (r) => PARAMETERS + r, factor = PARAMETERS + rows;
  const right = (v) => factor + 1 + v, sum = (r, v) => right(vectors) + r * vectors + v;
  const code = [];
  for (let r = 0; r < rows; r++) {
    code.push(...get(r ? address(r - 1) : a));
    if (r) code.push(...get(aRow), 0x6a);
    code.push(...set(address(r)));
  }
  code.push(0x03, 0x40); // loop
  for (let v = 0; v < vectors; v++) code.push(...get(b), ...load(16 * v), ...set(right(v)));
  for (let r = 0; r < rows; r++) {
    code.push(...get(address(r)), ...loadSplat, ...set(factor));
    for (let v = 0; v < vectors; v++) {
      code.push(...get(factor), ...get(right(v)), ...multiplyVectors);
      code.push(...get(sum(r, v)), ...addVectors, ...set(sum(r, v)));
    }
    code.push(...addTo(address(r), aColumn));
  }
  code.push(...addTo(b, row));
  code.push(...get(K), 0x41, 1, 0x6b, 0x22, K, 0x0d, 0, 0x0b); // K -= 1; br_if 0; end
  for (let r = 0; r < rows; r++) {
    for (let v = 0; v < vectors; v++) {
      code.push(...get(c), ...get(c), ...load(16 * v));
      code.push(...get(sum(r, v)), ...addVectors, ...store(16 * v));
    }
    code.push(...addTo(c, row));
  }
  const locals = [[...leb(rows), I32], [...leb(1 + vectors + rows * vectors), V128]];
  const body = [...listed(locals), ...code, 0x0b];
  return [...leb(body.length), ...body];
}

// The module, which imports its memory as "page" "memory" and exports a function for each tile.
function assemble(pages) {
  const text = (name) => listed([...name].map((letter) => [letter.charCodeAt(0)]));
  const type = [0x60, ...listed(Array(PARAMETERS).fill([I32])), 0];
  const memory = [...text("page"), ...text("memory"), 0x02, 0x01, ...leb(pages), ...leb(pages)];
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // magic number and version
    ...section(1, listed([type])), ...section(2, listed([memory])),
    ...section(3, listed(TILES.map(() => [0]))),
    ...section(7, listed(TILES.map(([rows, vectors], i) => [...text(`${rows}x${vectors}`), 0, i]))),
    ...section(10, listed(TILES.map(([rows, vectors]) => tileBody(rows, vectors)))),
  ]);
}

// {heap, product}: arrays in WebAssembly memory, and `addProduct` for them.
function makeSimd(bytes) {
  const pages = Math.ceil(bytes / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const module = new WebAssembly.Module(assemble(pages));
  const tiles = new WebAssembly.Instance(module, { page: { memory } }).exports;

  // C += A B as `addProduct`. Products whose rows are no vectors are small, and use `addProduct`.
  const product = (a, aRow, aColumn, b, c, M, K, N) => {
    if (N % 4) return addProduct(a, aRow, aColumn, b, c, M, K, N);
    for (let m = 0, rows; m < M; m += rows) {
      rows = m + 4 <= M ? 4 : 1;
      for (let n = 0, vectors; n < N; n += 4 * vectors) {
        vectors = rows === 1 && n + 32 <= N ? 8 : n + 8 <= N ? 2 : 1;
        const tile = rows === 4 ? (vectors === 2 ? tiles["4x2"] : tiles["4x1"])
          : vectors === 8 ? tiles["1x8"] : vectors === 2 ? tiles["1x2"] : tiles["1x1"];
        tile(a.byteOffset + 4 * m * aRow, 4 * aRow, 4 * aColumn, b.byteOffset + 4 * n, 4 * N,
             c.byteOffset + 4 * (m * N + n), K);
      }
    }
    return undefined;
  };
  return { heap: new Heap(bytes, memory), product };
}

const HEAP = 48 * 2 ** 20; // bytes: enough for the widest network of the page

// {heap, product} of a trainer: in WebAssembly, or in JavaScript if the browser has no vectors.
function makeHeap() {
  try {
    return makeSimd(HEAP);
  } catch {
    return { heap: new Heap(HEAP), product: addProduct };
  }
}
