// Layers under and over the points of the large picture: real points, densities, arrows of the score.

const ALONG = 21; // arrows a side, also in field.js

class Layers {
  // field: data of the panel of the field, or undefined without a score
  constructor(field, player) {
    this.player = player;
    this.images = new Map();
    if (!field) return;
    this.final = new Squares(field, field.model);
    this.noised = new Squares(field, field.p);
    this.density = { ...unpack(field.density), extent: field.extent };
  }

  // The field of the chosen snapshot, or of the final network.
  get field() {
    const { snapshot } = this.player;
    if (!snapshot) return this.final;
    snapshot.squares ??= snapshot.field && new Squares(snapshot.field, snapshot.field.values);
    return snapshot.squares;
  }

  // Index of the nearest level of `squares`; -1 for noise far below the lowest level.
  levelOf(squares, time) {
    const { t } = this.player.process.level(time, 0);
    return squares.nearest(t * this.player.reverse.levels.T);
  }

  // Draws the density: of the data with noise, or of the final network without noise.
  drawDensity(stage, view, time) {
    if (!this.noised) return;
    const level = this.levelOf(this.noised, time);
    if (level < 0 && this.player.snapshot) return;
    const { context, size } = stage.dots;
    const { scale, left, top } = stage.toPixels(view);
    const [x0, x1, y0, y1] = level < 0 ? this.density.extent : this.noised.extent(level);
    context.save();
    context.globalCompositeOperation = isDark() ? "screen" : "multiply";
    context.beginPath();
    context.rect(0, 0, size, size);
    context.clip();
    const [width, height] = [scale * (x1 - x0), scale * (y1 - y0)];
    context.drawImage(this.image(level), left + scale * x0, top - scale * y1, width, height);
    context.restore();
  }

  // A small picture of a density, lowest y at the bottom.
  image(level) {
    const key = `${level} ${isDark()}`;
    if (this.images.has(key)) return this.images.get(key);
    const { shape, values } = level < 0 ? this.density : this.noised;
    const size = level < 0 ? shape[0] : shape[1];
    const pick = level < 0 ? (i) => values[2 * i] : (i) => values[level * size * size + i];
    const shares = Array.from({ length: size * size }, (_, i) => pick(i));
    const peak = level < 0 ? dense(shares) : 1;
    const tone = cssColour(level < 0 ? "--samples" : "--data");
    const canvas = pixelCanvas(size, (i) => [tone, 0.7 * Math.min(1, shares[i] / peak)]);
    this.images.set(key, canvas);
    return canvas;
  }

  // Draws sigma times the score of the network at the noise level of the player.
  drawArrows(stage, view, time) {
    const { field } = this;
    const level = field ? this.levelOf(field, time) : -1;
    if (level < 0) return;
    const { context, size } = stage.dots;
    const step = size / ALONG;
    const { scale, left, top } = stage.toPixels(view);
    context.strokeStyle = css(cssColour("--ink"));
    context.lineWidth = Math.max(1.2, size / 420);
    context.globalAlpha = 0.75;
    context.beginPath();
    for (let j = 0; j < ALONG; j++) {
      for (let i = 0; i < ALONG; i++) {
        const [px, py] = [(i + 0.5) * step, (j + 0.5) * step];
        const vector = field.at(level, (px - left) / scale, (top - py) / scale);
        if (vector) scoreArrow(context, px, py, vector, step);
      }
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  // [{colour, text, shape}] of the layers that are shown.
  legend({ data, arrows, density }) {
    const entries = [];
    if (data) entries.push({ colour: cssColour("--data"), text: "real points" });
    if (arrows)
      entries.push({
        colour: cssColour("--ink"),
        text: "score of the model, times sigma",
        shape: "arrow",
      });
    if (density) {
      entries.push({
        colour: cssColour("--data"),
        text: "density of the noised data",
        shape: "shade",
      });
      if (!this.player.snapshot)
        entries.push({
          colour: cssColour("--samples"),
          text: "at t = 0, density of the model",
          shape: "shade",
        });
    }
    return entries;
  }
}

// Values on squares grids, one square at each of a few noise levels.
class Squares {
  // {t, centre, half} of reports/squares.py; packed: [levels, size, size, channels or none]
  constructor({ t, centre, half }, packed) {
    const { shape, values } = unpack(packed);
    Object.assign(this, { t, centre, half, shape, values });
  }

  nearest(t) {
    if (t < this.t[0] / 2) return -1;
    const far = this.t.map((level) => Math.abs(level - t));
    return far.indexOf(Math.min(...far));
  }

  extent(level) {
    const [[x, y], [w, h]] = [this.centre[level], this.half[level]];
    return [x - w, x + w, y - h, y + h];
  }

  // The vector at a place in units of the data, between its four nearest nodes; null outside.
  at(level, x, y) {
    const size = this.shape[1];
    const [[cx, cy], [w, h]] = [this.centre[level], this.half[level]];
    const [u, v] = [((x - cx) / w + 1) * 0.5 * size, ((y - cy) / h + 1) * 0.5 * size];
    if (!(u >= 0 && v >= 0 && u <= size && v <= size)) return null;
    const within = (a) => Math.min(size - 1, Math.max(0, a - 0.5));
    const [a, b] = [within(u), within(v)];
    const [i, j] = [Math.min(Math.floor(a), size - 2), Math.min(Math.floor(b), size - 2)];
    const value = (column, row, d) =>
      this.values[2 * ((level * size + row) * size + column) + d];
    const mixed = (d) =>
      mix(
        mix(value(i, j, d), value(i + 1, j, d), a - i),
        mix(value(i, j + 1, d), value(i + 1, j + 1, d), a - i),
        b - j,
      );
    const side = Math.max(w, h); // each coordinate has its own unit
    return [(mixed(0) * w) / side, (mixed(1) * h) / side];
  }
}

// The lowest density among the densest 2 % of the mass, so a sharp peak leaves the rest visible.
function dense(values) {
  const falling = Float64Array.from(values).sort().reverse();
  let mass = 0;
  return falling.find((value) => (mass += value) > 0.02) || falling[0] || 1;
}
