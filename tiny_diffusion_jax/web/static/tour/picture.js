// A plane of the tour: data, arrows and samples below, marks above, and rings that can be dragged.

const NEAR = 26; // px from a ring, for a finger
const RING = 9; // px
const NUDGE = 0.05; // what an arrow key moves, in standard deviations of the data

class Picture extends Plane {
  // handles: [[x, y], ...]; moved(): after a drag; most: points that can be placed.
  constructor(canvas, { handles = [], moved = () => {}, most = handles.length } = {}) {
    super(canvas);
    Object.assign(this, { handles, moved, most, marks: [], active: 0, held: null });
    if (!most) return;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("click", (event) => this.tap(event));
    canvas.addEventListener("pointermove", (event) => this.held !== null && this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => (this.held = null));
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    // A finger that starts at a ring drags it; elsewhere it scrolls the page.
    canvas.addEventListener("touchstart", (event) => {
      const box = canvas.getBoundingClientRect(), { clientX, clientY } = event.touches[0];
      if (this.nearest(clientX - box.left, clientY - box.top) !== null) event.preventDefault();
    }, { passive: false });
  }

  nearest(px, py) {
    const distances = this.handles.map(([x, y]) => {
      const [hx, hy] = this.board.toPixel(x, y);
      return Math.hypot(hx - px, hy - py);
    });
    const least = Math.min(...distances);
    return least < NEAR ? distances.indexOf(least) : null;
  }

  press({ offsetX, offsetY, button, pointerId, pointerType }) {
    const near = this.nearest(offsetX, offsetY);
    if (button || (pointerType === "touch" && near === null)) return; // a finger may scroll
    this.take(near);
    this.held = this.active;
    this.canvas.setPointerCapture(pointerId);
    this.put(this.board.toPoint(offsetX, offsetY));
  }

  // A finger that did not scroll.
  tap({ offsetX, offsetY, pointerType }) {
    if (pointerType !== "touch" || this.nearest(offsetX, offsetY) !== null) return;
    this.take(null);
    this.put(this.board.toPoint(offsetX, offsetY));
  }

  // Make a ring active: the nearest, a new one, or the latest.
  take(near) {
    if (near === null && this.handles.length < this.most) near = this.handles.push([0, 0]) - 1;
    this.active = near ?? this.handles.length - 1;
  }

  move({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    this.put(this.board.toPoint(clientX - box.left, clientY - box.top));
  }

  // Move the active ring, within the plane.
  put(point) {
    const edge = 0.98 * this.board.half;
    this.handles[this.active] = point.map((v) => Math.min(edge, Math.max(-edge, v)));
    this.moved();
  }

  key(event) {
    const direction = DIRECTIONS[event.key];
    // Another plane may have removed points of the same list.
    this.active = Math.max(0, Math.min(this.active, this.handles.length - 1));
    const { handles, most } = this, now = handles[this.active] ?? [0, 0];
    const size = event.shiftKey ? NUDGE / 5 : NUDGE;
    if (direction && handles.length) this.put(now.map((v, d) => v + size * direction[d]));
    else if (event.key === "Enter" && handles.length < most) {
      this.active = handles.push([now[0] + 4 * NUDGE, now[1]]) - 1;
      this.moved();
    } else if (event.key === "Backspace" && most > 1 && handles.length) {
      handles.splice(this.active, 1);
      this.active = Math.max(0, handles.length - 1);
      this.moved();
    } else return;
    event.preventDefault();
  }

  // marks: a list of functions (board) => draws.
  draw() {
    const { board, data, samples, field, marks, handles } = this;
    if (!this.canvas.clientWidth) return;
    board.begin();
    board.dots(data, "data", Math.max(1, board.side / 350), 0.5);
    board.arrows(field);
    board.dots(samples, "samples", Math.max(1.8, board.radius(samples.length / 2)), 0.85);
    for (const mark of marks) mark(board);
    for (const [x, y] of handles) {
      this.board.ring(x, y, "paper", RING + 2);
      this.board.ring(x, y, "ink", RING);
    }
  }
}

// ---------------------------------------------------------------- marks

const lineMark = (points, colour, width = 1.6, opacity = 1) => (board) =>
  board.line(points, colour, width, opacity);

const dotsMark = (points, colour, radius, opacity = 1) => (board) =>
  board.dots(points, colour, radius, opacity);

// Points whose size and opacity are their share of the largest weight.
function weightsMark(points, weights, colour) {
  const most = Math.max(...weights);
  return (board) => {
    for (let k = 0; k < weights.length; k++) {
      const share = weights[k] / most;
      if (share < 0.02) continue;
      board.dots(points.slice(2 * k, 2 * k + 2), colour, 1.5 + 2.5 * share, share);
    }
  };
}

function arrowMark(from, to, colour) {
  return (board) => {
    const [x, y] = board.toPixel(...from), [tx, ty] = board.toPixel(...to), { pen } = board;
    const length = Math.hypot(tx - x, ty - y);
    if (length < 2) return;
    pen.strokeStyle = board.colour(colour);
    pen.lineWidth = 2.5;
    pen.beginPath();
    arrow(pen, (x + tx) / 2, (y + ty) / 2, tx - x, ty - y, Math.min(11, length) / length);
    pen.stroke();
  };
}
