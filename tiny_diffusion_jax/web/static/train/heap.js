// Memory of all arrays of the training, so that a WebAssembly kernel can read the same arrays.

const PAGE = 65536, ALIGNED = 16; // bytes: of WebAssembly memory, and of a vector of four floats

class Heap {
  // memory: a WebAssembly.Memory of fixed size, or undefined for an ArrayBuffer of `bytes`.
  constructor(bytes, memory) {
    this.buffer = memory ? memory.buffer : new ArrayBuffer(bytes);
    this.top = ALIGNED;
  }

  // Zeros f32[count], aligned to a vector.
  floats(count) {
    const start = this.top;
    this.top += Math.ceil((4 * count) / ALIGNED) * ALIGNED;
    if (this.top > this.buffer.byteLength) throw Error("The network is too large for this page.");
    return new Float32Array(this.buffer, start, count).fill(0);
  }
}
