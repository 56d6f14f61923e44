// A line chart, which shows the values under the pointer or at the arrow-key cursor.

const EDGE = { left: 52, right: 14, top: 14, bottom: 46 };
const SVG = "http://www.w3.org/2000/svg";

class Chart {
  // lines: [{name, x, y, colour (CSS), opacity, faint, dashed}]; null in y is a gap
  // isLogX: a log scale of x, which must be positive
  // xMarks: values of x with a tick, in place of about five round ones
  constructor(root, { lines, xName, xText = (x) => x.toLocaleString("en"), xMarks, isLogX }) {
    Object.assign(this, { root, lines, xName, xText, xMarks, isLogX });
    this.svg = root.querySelector("svg");
    this.output = root.querySelector("output");
    this.readable = lines.filter((line) => !line.faint);
    this.xs = [...new Set(this.readable.flatMap(({ x }) => x))].sort((a, b) => a - b);
    for (const type of ["pointerdown", "pointermove"]) // a tap does not move
      this.svg.addEventListener(type, (event) => this.point(this.nearest(event)));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("focus", () => this.point(this.at ?? this.xs.length - 1));
    addEventListener("resize", () => this.draw());
    this.draw();
    this.say(this.xs.length - 1);
  }

  // Forget the lines. The chart stays empty until a new chart replaces it.
  clear() {
    Object.assign(this, { lines: [], readable: [], xs: [] });
    this.svg.replaceChildren();
  }

  draw() {
    if (!this.xs.length) return;
    const [width, height] = [this.svg.clientWidth || 400, this.svg.clientHeight || 260];
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const ys = this.lines.flatMap(({ y }) => y).filter((y) => y !== null);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const isLog = low > 0 && high > 5 * low;
    const [first, last] = [this.xs[0], this.xs[this.xs.length - 1]];
    const f = isLog ? Math.log : (y) => y;
    const room = 0.06 * (f(high) - f(low)) || 0.5;
    const [bottom, top] = [f(low) - room, f(high) + room];
    const g = this.isLogX ? Math.log : (x) => x;
    this.toX = (x) =>
      mix(
        EDGE.left,
        width - EDGE.right,
        last > first ? (g(x) - g(first)) / (g(last) - g(first)) : 0.5,
      );
    this.toY = (y) => mix(height - EDGE.bottom, EDGE.top, (f(y) - bottom) / (top - bottom));
    this.svg.replaceChildren();
    this.axes(width, height, isLog ? logTicks(low, high) : ticks(low, high, 5), first, last);
    for (const line of this.lines) this.line(line);
    this.cursor = this.add("line", {
      class: "cursor",
      y1: EDGE.top,
      y2: height - EDGE.bottom,
      visibility: "hidden",
    });
    if (this.marked !== undefined) this.mark(this.marked);
    if (this.at !== undefined) this.point(this.at);
  }

  // Draws a line at x, or at the end of the axis next to x.
  mark(x) {
    this.marked = x;
    this.svg.querySelector(".mark")?.remove();
    const at = this.toX(Math.min(this.xs[this.xs.length - 1], Math.max(this.xs[0], x)));
    const height = this.svg.clientHeight || 260;
    this.add("line", { class: "mark", x1: at, x2: at, y1: EDGE.top, y2: height - EDGE.bottom });
  }

  axes(width, height, marks, first, last) {
    for (const y of marks) {
      this.add("line", {
        class: "grid",
        x1: EDGE.left,
        x2: width - EDGE.right,
        y1: this.toY(y),
        y2: this.toY(y),
      });
      this.add(
        "text",
        { x: EDGE.left - 8, y: this.toY(y) + 4, "text-anchor": "end" },
        Number(y.toPrecision(3)),
      );
    }
    const most = Math.max(2, Math.floor(width / 70));
    const marked = this.isLogX ? logTicks : (low, high) => ticks(low, high, Math.min(most, 6));
    const all = this.xMarks ?? (last > first ? marked(first, last) : [first]);
    const every = Math.ceil(all.length / most);
    const base = height - EDGE.bottom;
    for (const x of all.filter((_, i) => i % every === 0)) {
      const at = this.toX(x);
      this.add("line", { class: "grid", x1: at, x2: at, y1: base, y2: base + 5 });
      const text = this.xText(x);
      const anchor = at + 4 * text.length > width ? "end" : "middle"; // not beyond the edge
      this.add("text", { x: at, y: base + 18, "text-anchor": anchor, class: "x" }, text);
    }
    const middle = (EDGE.left + width - EDGE.right) / 2;
    this.add("text", { x: middle, y: height - 8, "text-anchor": "middle" }, this.xName);
  }

  line({ x, y, colour, opacity = 1, faint, dashed }) {
    let path = "";
    y.forEach((value, i) => {
      if (value === null) return;
      const gap = i === 0 || y[i - 1] === null;
      path += `${gap ? "M" : "L"}${this.toX(x[i]).toFixed(1)} ${this.toY(value).toFixed(1)}`;
    });
    const style = `stroke: ${colour}; opacity: ${faint ? 0.35 : opacity}`;
    this.add("path", { d: path, class: `line${faint ? " faint" : ""}${dashed ? " dashed" : ""}`, style });
    if (x.length === 1 && y[0] !== null)
      this.add("circle", {
        cx: this.toX(x[0]),
        cy: this.toY(y[0]),
        r: 4,
        style: `fill: ${colour}`,
      });
  }

  add(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    this.svg.append(element);
    return element;
  }

  nearest(event) {
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    const far = this.xs.map((value) => Math.abs(this.toX(value) - x));
    return far.indexOf(Math.min(...far));
  }

  key(event) {
    const last = this.xs.length - 1;
    const at = this.at ?? last;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.point(Math.min(last, Math.max(0, to)));
  }

  point(index) {
    if (!this.xs.length) return;
    this.at = index;
    const x = this.toX(this.xs[index]);
    for (const [name, value] of Object.entries({ x1: x, x2: x, visibility: "visible" }))
      this.cursor.setAttribute(name, value);
    this.say(index);
  }

  // The values at one x, in words.
  say(index) {
    const x = this.xs[index];
    this.output.replaceChildren(`${this.xName} ${this.xText(x)}`);
    for (const line of this.readable) {
      const value = line.y[line.x.indexOf(x)];
      if (value === undefined || value === null) continue;
      const dot = document.createElement("span");
      dot.className = "dot";
      Object.assign(dot.style, { background: line.colour, opacity: line.opacity ?? 1 });
      this.output.append(dot, `${line.name}: ${Number(value.toPrecision(4))}`);
    }
  }
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((s) => s * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

function logTicks(low, high) {
  const result = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    result.push(...[1, 2, 5].map((s) => s * power).filter((y) => y >= low && y <= high));
  }
  return result.length > 8 ? result.filter((y) => Math.log10(y) % 1 === 0) : result;
}

const LOG_X = 20; // ratio of the last step to the first from which steps are on a log scale

// The two charts of a training, from the panel of reports/training.py.
function lossCharts(root, { step, loss, smooth, heldout, stages, sigma, lowest }) {
  const limit = (x, y) => ({ name: "lowest possible", x, y, colour: "var(--ink)", dashed: true });
  const [byStep, byLevel] = root.querySelectorAll(".chart");
  const chart = new Chart(byStep, {
    xName: "step",
    isLogX: step[step.length - 1] >= LOG_X * step[0],
    lines: [
      { name: "loss", x: step, y: loss, colour: "var(--samples)", faint: step.length > 1 },
      { name: "training loss", x: step, y: smooth, colour: "var(--samples)" },
      ...(heldout ? [{ name: "held-out sets", x: step, y: heldout, colour: "var(--data)" }] : []),
      ...(lowest ? [limit(step, step.map(() => lowest.total))] : []),
    ],
  });
  if (!byLevel) return chart;
  const x = sigma.map((_, i) => i);
  new Chart(byLevel, {
    xName: "noise sigma",
    xText: (i) => sigma[i].toPrecision(2),
    xMarks: x,
    lines: [
      ...stages.map(({ name, values }, i) => ({
        name,
        x,
        y: values,
        colour: "var(--samples)",
        opacity: (i + 1) / stages.length,
      })),
      ...(lowest ? [limit(x, lowest.by_level)] : []),
    ],
  });
  return chart;
}
