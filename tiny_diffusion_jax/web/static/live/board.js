// The plane: a square canvas, its view, and what stands in it.

const VIEW = 2.7; // standard deviations of the data from their mean to the edge

class Board {
  constructor(canvas, { data_mean: mean, sigma_data: sigmaData }) {
    Object.assign(this, { canvas, mean, half: VIEW * sigmaData });
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

  // The way of one point, f32[steps + 1, 2].
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

  // A disc's radius: smaller where there are many, and on a small canvas.
  radius(count) {
    return Math.max(0.9, Math.min(this.side / 90, (this.side / 45) * Math.max(count, 10) ** -0.25));
  }
}
