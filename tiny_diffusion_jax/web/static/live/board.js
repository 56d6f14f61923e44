// The plane: a square canvas, its view, and the marks that are drawn on it.

const SMALL_SIDE = 480; // px: a smaller plane has every second arrow

class Board {
  constructor(canvas, { data_mean: mean, sigma_data: sigmaData }) {
    Object.assign(this, { canvas, mean, sigmaData, half: FIELD_HALF * sigmaData });
  }

  // Clears the canvas at the resolution of the screen; returns its context, in CSS pixels.
  begin() {
    const { canvas } = this, ratio = devicePixelRatio || 1;
    this.side = canvas.clientWidth;
    canvas.width = canvas.height = Math.round(this.side * ratio);
    const style = getComputedStyle(document.documentElement);
    this.colour = (name) => style.getPropertyValue(`--${name}`);
    this.pen = canvas.getContext("2d");
    this.pen.scale(ratio, ratio);
    return this.pen;
  }

  toPixel(x, y) {
    const scale = this.side / (2 * this.half);
    const [dx, dy] = [x - this.mean[0], y - this.mean[1]];
    return [this.side / 2 + dx * scale, this.side / 2 - dy * scale];
  }

  toPoint(px, py) {
    const scale = (2 * this.half) / this.side;
    const [dx, dy] = [px - this.side / 2, this.side / 2 - py];
    return [this.mean[0] + dx * scale, this.mean[1] + dy * scale];
  }

  // Points f32[n, 2] as discs.
  dots(points, colour, radius, opacity = 1) {
    const { pen } = this;
    pen.fillStyle = this.colour(colour);
    pen.globalAlpha = opacity;
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = this.toPixel(points[i], points[i + 1]);
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  // The trajectory of one point, f32[steps + 1, 2].
  line(points, colour, width, opacity = 1) {
    const { pen } = this;
    pen.strokeStyle = this.colour(colour);
    pen.lineWidth = width;
    pen.lineJoin = "round";
    pen.globalAlpha = opacity;
    pen.beginPath();
    for (let i = 0; i < points.length; i += 2) {
      pen.lineTo(...this.toPixel(points[i], points[i + 1]));
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  ring(x, y, colour, radius) {
    const { pen } = this, [px, py] = this.toPixel(x, y);
    pen.strokeStyle = this.colour(colour);
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(px, py, radius, 0, 7);
    pen.stroke();
  }

  cross(x, y) {
    const { pen } = this, [px, py] = this.toPixel(x, y);
    pen.strokeStyle = this.colour("muted");
    pen.lineWidth = 1;
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      pen.beginPath();
      pen.moveTo(px - dx * this.side, py - dy * this.side);
      pen.lineTo(px + dx * this.side, py + dy * this.side);
      pen.stroke();
    }
  }

  // A density on size x size squares of the whole plane, lowest y first; opacity(i) in 0..1.
  shade(size, opacity, colour) {
    const tone = rgb(this.colour(colour));
    this.pen.drawImage(pixelCanvas(size, (i) => [tone, opacity(i)]), 0, 0, this.side, this.side);
  }

  // sigma x score f32[ARROWS_PER_SIDE^2, 2] at `gridPlaces`.
  arrows(field) {
    if (!field.length) return;
    const { pen, side } = this, places = gridPlaces(this.mean, this.sigmaData);
    const step = side < SMALL_SIDE ? 2 : 1, square = (step * side) / ARROWS_PER_SIDE;
    pen.strokeStyle = this.colour("muted");
    pen.lineWidth = 1;
    pen.globalAlpha = 0.7;
    pen.beginPath();
    for (let i = 0; i < field.length; i += 2) {
      const row = Math.floor(i / 2 / ARROWS_PER_SIDE), column = (i / 2) % ARROWS_PER_SIDE;
      if (row % step || column % step) continue;
      const [x, y] = this.toPixel(places[i], places[i + 1]);
      scoreArrow(pen, x, y, [field[i], field[i + 1]], square);
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  // A disc's radius: smaller where there are many, and on a small canvas.
  radius(count) {
    return Math.max(0.9, Math.min(this.side / 90, (this.side / 45) * Math.max(count, 10) ** -0.25));
  }
}
