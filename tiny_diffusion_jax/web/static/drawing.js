// A drawing: named shapes of points in [-1, 1]. It needs no page.

const MOST_UNDONE = 50;

class Drawing {
  // state: the `state` of an earlier drawing
  constructor(state) {
    Object.assign(this, { shapes: [], history: [] }, state);
    if (!this.shapes.length) this.add();
  }

  get state() {
    const shapes = this.shapes.map(({ name, points }) => ({ name, points: [...points] }));
    return { shapes, current: this.current };
  }

  get shape() {
    return this.shapes[this.current];
  }

  add() {
    const taken = new Set(this.shapes.map(({ name }) => name));
    let number = this.shapes.length + 1;
    while (taken.has(`shape${number}`)) number++;
    this.shapes.push({ name: `shape${number}`, points: [] });
    this.current = this.shapes.length - 1;
  }

  // Names go into a table and a command line: letters, digits, - and _ alone, none twice.
  rename(text) {
    const name = text.trim().replace(/[^\p{L}\p{N}_-]+/gu, "_");
    const taken = this.shapes.some((shape) => shape !== this.shape && shape.name === name);
    if (name && !taken) this.shape.name = name;
    return this.shape.name;
  }

  // Call before a change that can be undone.
  mark() {
    this.history.push(this.state);
    if (this.history.length > MOST_UNDONE) this.history.shift();
  }

  undo() {
    Object.assign(this, this.history.pop());
  }

  // Starts a stroke, whose points are `gap` apart along its path.
  begin(x, y, gap) {
    this.mark();
    this.stroke = { x, y, gap, next: gap / 2, first: this.shape.points.length };
  }

  // Continues the stroke in a straight line, with one point every `gap`, spread about the line.
  // However many events a path is made of, its points are equally dense everywhere.
  lineTo(x, y, spread) {
    const { stroke } = this;
    const length = Math.hypot(x - stroke.x, y - stroke.y);
    for (; stroke.next <= length; stroke.next += stroke.gap) {
      const share = stroke.next / length;
      this.spray(stroke.x + share * (x - stroke.x), stroke.y + share * (y - stroke.y), 1, spread);
    }
    Object.assign(stroke, { x, y, next: stroke.next - length });
  }

  // `count` points about (x, y), normal with standard deviation `spread`.
  spray(x, y, count, spread) {
    for (let i = 0; i < count; i++) {
      const far = spread * Math.sqrt(-2 * Math.log(1 - Math.random()));
      const angle = 2 * Math.PI * Math.random();
      this.shape.points.push([x + far * Math.cos(angle), y + far * Math.sin(angle)]);
    }
  }

  clear() {
    this.shape.points = [];
  }

  // Shapes that have points.
  drawn() {
    return this.shapes.filter(({ points }) => points.length);
  }

  // x,y of one shape; x,y,shape of several.
  csv() {
    const drawn = this.drawn();
    const several = drawn.length > 1;
    const lines = drawn.flatMap(({ name, points }) =>
      points.map(([x, y]) => [x.toFixed(5), y.toFixed(5), ...(several ? [name] : [])].join(",")),
    );
    return [several ? "x,y,shape" : "x,y", ...lines].join("\n") + "\n";
  }

  // program: the command line that wrote the page, such as "python main.py".
  command(program) {
    return this.drawn().length > 1
      ? `${program} --config=mixture:'drawing.csv?shape'`
      : `${program} --config=points:drawing.csv`;
  }
}
