// Many dots on a canvas, fast: round, at fractions of a pixel, written straight into its pixels.

const PARTS = 4; // the position of a dot is rounded to 1 / PARTS of a pixel

class Dots {
  constructor(canvas, mostPixels = 1200) {
    this.canvas = canvas;
    this.mostPixels = mostPixels;
    this.context = canvas.getContext("2d");
    this.stencils = new Map();
  }

  // Takes the size that the page gives the canvas; false if it is not shown.
  fit() {
    const wide = this.canvas.clientWidth;
    if (!wide) return false;
    const size = Math.min(this.mostPixels, Math.round(wide * Math.min(devicePixelRatio || 1, 2)));
    if (this.canvas.width !== size || !this.image) {
      this.canvas.width = this.canvas.height = size;
      this.image = this.context.createImageData(size, size);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    this.size = size;
    return true;
  }

  clear([r, g, b]) {
    this.words.fill((255 << 24) | (b << 16) | (g << 8) | r);
  }

  // A disc's pixels, [dx, dy, cover, dx, ...], for each of PARTS x PARTS places within a pixel.
  stencil(radius) {
    if (this.stencils.has(radius)) return this.stencils.get(radius);
    const reach = Math.ceil(radius + 1);
    const all = [];
    for (let j = 0; j < PARTS; j++) {
      for (let i = 0; i < PARTS; i++) {
        const entries = [];
        for (let dy = -reach; dy <= reach; dy++) {
          for (let dx = -reach; dx <= reach; dx++) {
            const far = Math.hypot(dx + 0.5 - (i + 0.5) / PARTS, dy + 0.5 - (j + 0.5) / PARTS);
            const cover = Math.min(1, Math.max(0, radius + 0.5 - far));
            if (cover > 0) entries.push(dx, dy, cover);
          }
        }
        all.push(Float32Array.from(entries));
      }
    }
    this.stencils.set(radius, all);
    return all;
  }

  // Dots at xy (pixels) of `count` points; colours: u8[3 count]. Points that are NaN are not drawn.
  draw(xy, count, colours, radius, opacity) {
    const { size } = this;
    const pixels = this.image.data;
    const stencils = this.stencil(Math.round(radius * 8) / 8);
    const edge = radius + 2;
    for (let n = 0; n < count; n++) {
      const x = xy[2 * n];
      const y = xy[2 * n + 1];
      if (!(x > -edge && y > -edge && x < size + edge && y < size + edge)) continue;
      const left = Math.floor(x);
      const top = Math.floor(y);
      const entries =
        stencils[Math.floor((y - top) * PARTS) * PARTS + Math.floor((x - left) * PARTS)];
      const r = colours[3 * n];
      const g = colours[3 * n + 1];
      const b = colours[3 * n + 2];
      for (let e = 0; e < entries.length; e += 3) {
        const px = left + entries[e];
        const py = top + entries[e + 1];
        if (px < 0 || py < 0 || px >= size || py >= size) continue;
        const at = 4 * (py * size + px);
        const share = entries[e + 2] * opacity;
        pixels[at] += (r - pixels[at]) * share;
        pixels[at + 1] += (g - pixels[at + 1]) * share;
        pixels[at + 2] += (b - pixels[at + 2]) * share;
      }
    }
  }

  show() {
    this.context.putImageData(this.image, 0, 0);
  }

  // Circles around some of the points at xy (pixels).
  rings(xy, indices, colour, radius) {
    this.mark(xy, indices, colour, (pen, x, y) => {
      pen.moveTo(x + radius, y);
      pen.arc(x, y, radius, 0, 2 * Math.PI);
    });
  }

  // Crosses on some of the points at xy (pixels).
  crosses(xy, indices, colour, reach) {
    this.mark(xy, indices, colour, (pen, x, y) => {
      for (const side of [-reach, reach]) {
        pen.moveTo(x - reach, y - side);
        pen.lineTo(x + reach, y + side);
      }
    });
  }

  mark(xy, indices, colour, draw) {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = Math.max(1.2, this.size / 500);
    context.beginPath();
    for (const n of indices) {
      if (!Number.isNaN(xy[2 * n])) draw(context, xy[2 * n], xy[2 * n + 1]);
    }
    context.stroke();
  }
}
