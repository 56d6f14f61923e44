// The plane of the training: data below, the arrows of the field, samples above.

const SMALL = 480; // px: a smaller plane has every second arrow, and paler data

class Plane {
  constructor(canvas) {
    this.canvas = canvas;
    this.board = new Board(canvas, { data_mean: [0, 0], sigma_data: 1 });
    Object.assign(this, { data: [], samples: [], field: [], cursor: null, placed: [] });
    for (const place of [document, window]) {
      place.addEventListener(place === document ? "theme" : "resize", () => this.draw());
    }
  }

  // Take new contents and draw them in the next frame.
  show(contents) {
    Object.assign(this, contents);
    if (this.isScheduled) return;
    this.isScheduled = true;
    requestAnimationFrame(() => {
      this.isScheduled = false;
      this.draw();
    });
  }

  draw() {
    const { board, data, samples, field, cursor, placed } = this;
    if (!this.canvas.clientWidth) return;
    board.begin();
    const share = Math.min(1, 2500 / Math.max(data.length / 2, 1)); // of the data that is drawn
    const isSmall = board.side < SMALL;
    const shown = data.slice(0, 2 * Math.round((share * data.length) / 2));
    board.dots(shown, "data", isSmall ? 0.8 : 1.1, 0.35);
    this.arrows(field);
    board.dots(samples, "samples", Math.max(1.4, board.radius(samples.length / 2)), 0.85);
    for (let i = 0; i < placed.length; i += 2) board.ring(placed[i], placed[i + 1], "ink", 6);
    if (cursor) board.cross(...cursor);
  }

  // Arrows as long as their square for a score of two standard deviations of the noise.
  arrows(field) {
    if (!field.length) return;
    const { pen, side } = this.board, places = gridPlaces();
    const step = side < SMALL ? 2 : 1, reach = (0.85 * step * side) / ARROWS_PER_SIDE;
    pen.strokeStyle = this.board.colour("muted");
    pen.lineWidth = 1;
    pen.globalAlpha = 0.7;
    pen.beginPath();
    for (let i = 0; i < field.length; i += 2) {
      const row = Math.floor(i / 2 / ARROWS_PER_SIDE), column = (i / 2) % ARROWS_PER_SIDE;
      if (row % step || column % step) continue;
      const length = Math.hypot(field[i], field[i + 1]);
      if (!(length > 0.02)) continue;
      const scale = (reach * Math.min(1, length / 2)) / length;
      const [x, y] = this.board.toPixel(places[i], places[i + 1]);
      const dx = scale * field[i], dy = -scale * field[i + 1];
      pen.moveTo(x - dx / 2, y - dy / 2);
      pen.lineTo(x + dx / 2, y + dy / 2);
      for (const turn of [2.6, -2.6]) {
        const c = 0.35 * Math.cos(turn), s = 0.35 * Math.sin(turn);
        pen.moveTo(x + dx / 2, y + dy / 2);
        pen.lineTo(x + dx / 2 + c * dx - s * dy, y + dy / 2 + s * dx + c * dy);
      }
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }
}
