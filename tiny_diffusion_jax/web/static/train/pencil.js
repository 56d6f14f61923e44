// Drawing on the plane of the training, with a mouse, a finger or the keyboard.

const GAP = 0.007, SPREAD = 0.02; // between points along a line, and across, in standard deviations
const PENCIL_DAB = 10; // points of a click
const PENCIL_STEP = 0.1; // of an arrow key, in standard deviations

class Pencil {
  // sketch: a Drawing; isActive(): whether the plane is drawn on; changed(): called after changes.
  constructor(plane, sketch, isActive, changed) {
    Object.assign(this, { plane, sketch, isActive, changed, at: [0, 0], isDown: false });
    const { canvas } = plane;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const type of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(type, () => this.release());
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    for (const type of ["focus", "blur"]) canvas.addEventListener(type, () => this.aim());
  }

  position({ offsetX, offsetY }) {
    return this.plane.board.toPoint(offsetX, offsetY);
  }

  press(event) {
    if (!this.isActive() || event.button) return;
    this.plane.canvas.setPointerCapture(event.pointerId);
    this.isDown = true;
    this.at = this.position(event);
    this.sketch.begin(...this.at, GAP);
  }

  move(event) {
    if (!this.isDown) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) {
      this.at = this.position(each);
      this.sketch.lineTo(...this.at, SPREAD);
    }
    this.changed();
  }

  release() {
    const { stroke, shape } = this.sketch;
    if (this.isDown && stroke.first === shape.points.length) this.dab();
    this.isDown = false;
  }

  dab() {
    this.sketch.spray(...this.at, PENCIL_DAB, SPREAD);
    this.changed();
  }

  // Arrow keys move the pencil, and with Shift they draw; Space sets a point; Backspace undoes.
  key(event) {
    if (!this.isActive()) return;
    const direction = DIRECTIONS[event.key], { sketch } = this;
    if (direction) {
      const before = this.at, limit = (v) => Math.min(2.6, Math.max(-2.6, v));
      this.at = before.map((v, d) => limit(v + PENCIL_STEP * direction[d]));
      if (event.shiftKey) {
        sketch.begin(...before, GAP);
        sketch.lineTo(...this.at, SPREAD);
      }
    } else if (event.key === " ") {
      sketch.begin(...this.at, GAP);
      this.dab();
    } else if (event.key === "Backspace") sketch.undo();
    else return;
    event.preventDefault();
    this.changed();
    this.aim();
  }

  // Show where the pencil is while the keyboard has the plane.
  aim() {
    const isAimed = this.isActive() && this.plane.canvas.matches(":focus-visible");
    this.plane.show({ cursor: isAimed ? this.at : null });
  }
}
