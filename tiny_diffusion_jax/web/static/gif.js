// A writer of animated GIF files (version 89a): one palette for all frames, LZW compression.

const COLOURS = 256, MOST_CODES = 4096;
const shortColour = (r, g, b) => ((r >> 3) << 10) | ((g >> 3) << 5) | (b >> 3); // 5 bits each

class GifWriter {
  // sample: RGBA pixels whose most frequent colours are the palette. All frames have this size.
  constructor(width, height, sample) {
    Object.assign(this, { width, height, palette: commonColours(sample), nearest: new Map() });
    const table = this.palette.flat();
    table.length = 3 * COLOURS;
    this.parts = [[..."GIF89a"].map((letter) => letter.charCodeAt(0)),
                  [...word(width), ...word(height), 0xf7, 0, 0], Array.from(table, (v) => v ?? 0)];
    // Repeat for ever.
    const name = [..."NETSCAPE2.0"].map((letter) => letter.charCodeAt(0));
    this.parts.push([0x21, 0xff, 11, ...name, 3, 1, 0, 0, 0]);
  }

  // Add a frame of RGBA pixels that is shown for `hundredths` of a second.
  add(pixels, hundredths) {
    const indices = new Uint8Array(this.width * this.height);
    for (let i = 0; i < indices.length; i++) {
      indices[i] = this.index(pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2]);
    }
    this.parts.push([0x21, 0xf9, 4, 0, ...word(hundredths), 0, 0],
                    [0x2c, 0, 0, 0, 0, ...word(this.width), ...word(this.height), 0, 8]);
    const codes = compress(indices);
    for (let at = 0; at < codes.length; at += 255) {
      const block = codes.subarray(at, at + 255);
      this.parts.push([block.length], block);
    }
    this.parts.push([0]);
  }

  // Index of the colour of the palette that is nearest.
  index(r, g, b) {
    const key = shortColour(r, g, b);
    let found = this.nearest.get(key);
    if (found === undefined) {
      const far = this.palette.map(([x, y, z]) => (x - r) ** 2 + (y - g) ** 2 + (z - b) ** 2);
      found = far.indexOf(Math.min(...far));
      this.nearest.set(key, found);
    }
    return found;
  }

  // The bytes of the file.
  finish() {
    return new Blob([...this.parts.map((part) => Uint8Array.from(part)), Uint8Array.of(0x3b)],
                    { type: "image/gif" });
  }
}

const word = (value) => [value & 255, value >> 8]; // two bytes, the lower one first

// Means of the most frequent colours, as [r, g, b].
function commonColours(pixels) {
  const groups = new Map();
  for (let i = 0; i < pixels.length; i += 4) {
    const [r, g, b] = [pixels[i], pixels[i + 1], pixels[i + 2]], key = shortColour(r, g, b);
    if (!groups.has(key)) groups.set(key, [0, 0, 0, 0]);
    const sums = groups.get(key);
    sums[0] += r; sums[1] += g; sums[2] += b; sums[3] += 1;
  }
  const frequent = [...groups.values()].sort((a, b) => b[3] - a[3]).slice(0, COLOURS);
  return frequent.map(([r, g, b, n]) => [r, g, b].map((sum) => Math.round(sum / n)));
}

// LZW codes of indices u8[n], lowest bit first.
function compress(indices) {
  const clear = COLOURS, end = COLOURS + 1, bytes = new Uint8Array(2 * indices.length + 16);
  const longer = new Int16Array(MOST_CODES * COLOURS); // code of a string and one index more
  let size, next, length = 0, bits = 0, count = 0;
  const put = (code) => {
    bits |= code << count;
    for (count += size; count >= 8; count -= 8, bits >>>= 8) bytes[length++] = bits & 255;
  };
  const begin = () => {
    put(clear);
    longer.fill(0);
    [size, next] = [9, end + 1];
  };
  size = 9;
  begin();
  let code = indices[0];
  for (let i = 1; i < indices.length; i++) {
    const at = code * COLOURS + indices[i];
    if (longer[at]) {
      code = longer[at];
      continue;
    }
    put(code);
    if (next < MOST_CODES) {
      if (next === 1 << size) size += 1;
      longer[at] = next++;
    } else begin();
    code = indices[i];
  }
  put(code);
  put(end);
  if (count) bytes[length++] = bits & 255;
  return bytes.subarray(0, length);
}
