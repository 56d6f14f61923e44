// Drawing on the plane of the training, with a mouse, a finger or the keyboard.

const PENCIL_STEP = 0.1; // of an arrow key, in standard deviations
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

class Pencil {
  // isActive(): whether the plane is drawn on; changed(): called after each change of the sketch.
  constructor(plane, sketch, isActive, changed) {
    Object.assign(this, { plane, sketch, isActive, changed, at: [0, 0], isDown: false });
    const { canvas } = plane;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const type of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(type, () => (this.isDown = false));
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
    this.sketch.begin(...this.at);
    this.changed();
  }

  move(event) {
    if (!this.isDown) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) this.at = this.position(each);
    this.sketch.drawTo(...this.at);
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
        sketch.begin(...before);
        sketch.drawTo(...this.at);
      }
    } else if (event.key === " ") sketch.begin(...this.at);
    else if (event.key === "Backspace") sketch.undo();
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
