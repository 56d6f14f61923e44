// The plane of the training: data below, the arrows of the field, samples above.

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
    const isSmall = board.side < SMALL_SIDE;
    const shown = data.slice(0, 2 * Math.round((share * data.length) / 2));
    board.dots(shown, "data", isSmall ? 0.8 : 1.1, 0.35);
    board.arrows(field);
    board.dots(samples, "samples", Math.max(1.4, board.radius(samples.length / 2)), 0.85);
    for (let i = 0; i < placed.length; i += 2) board.ring(placed[i], placed[i + 1], "ink", 6);
    if (cursor) board.cross(...cursor);
  }
}
