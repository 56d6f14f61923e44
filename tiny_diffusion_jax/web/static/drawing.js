// A drawing: named shapes of points in [-1, 1]. It needs no page.

class Drawing {
  constructor() {
    this.shapes = [];
    this.add();
  }

  get shape() {
    return this.shapes[this.current];
  }

  add() {
    const taken = new Set(this.shapes.map(({ name }) => name));
    let number = this.shapes.length + 1;
    while (taken.has(`shape${number}`)) number++;
    this.shapes.push({ name: `shape${number}`, points: [], strokes: [] });
    this.current = this.shapes.length - 1;
  }

  // Names go into a table and a command line: letters, digits, - and _ alone, none twice.
  rename(text) {
    const name = text.trim().replace(/[^\p{L}\p{N}_-]+/gu, "_");
    const taken = this.shapes.some((shape) => shape !== this.shape && shape.name === name);
    if (name && !taken) this.shape.name = name;
    return this.shape.name;
  }

  // Marks the start of the next stroke, so that it can be undone.
  begin() {
    this.shape.strokes.push(this.shape.points.length);
  }

  // `count` points about (x, y), normal with standard deviation `spread`.
  spray(x, y, count, spread) {
    for (let i = 0; i < count; i++) {
      const far = spread * Math.sqrt(-2 * Math.log(1 - Math.random()));
      const angle = 2 * Math.PI * Math.random();
      this.shape.points.push([x + far * Math.cos(angle), y + far * Math.sin(angle)]);
    }
  }

  undo() {
    if (this.shape.strokes.length) this.shape.points.length = this.shape.strokes.pop();
  }

  clear() {
    Object.assign(this.shape, { points: [], strokes: [] });
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
