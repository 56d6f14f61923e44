// Arrays that packing.py put into the page.

function bytes(text) {
  const characters = atob(text);
  const result = new Uint8Array(characters.length);
  for (let i = 0; i < result.length; i++) result[i] = characters.charCodeAt(i);
  return result.buffer;
}

// {shape, values: Numbers} of what `pack` made; NaN where there is no number.
function unpack({ shape, offset, scale, data }, Numbers = Float32Array) {
  const steps = new Uint16Array(bytes(data));
  const values = new Numbers(steps.length);
  const columns = offset.length;
  for (let i = 0; i < steps.length; i++) {
    const c = i % columns;
    values[i] = steps[i] === 65535 ? NaN : offset[c] + scale[c] * steps[i];
  }
  return { shape, values };
}

// {shape, values: Float32Array} of what `pack_weights` made, of 4 bytes a number or the first 3.
function unpackWeights({ shape, data, bytes_each: size }) {
  if (size === 4) return { shape, values: new Float32Array(bytes(data)) };
  const short = new Uint8Array(bytes(data));
  const whole = new Uint8Array((short.length / 3) * 4);
  for (let i = 0; i < short.length; i++) whole[4 * Math.floor(i / 3) + 1 + (i % 3)] = short[i];
  return { shape, values: new Float32Array(whole.buffer) };
}
