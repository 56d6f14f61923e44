// The loss while a network trains, with the curve of the run before for comparison.

const ROOM = { left: 40, right: 12, top: 12, bottom: 30 };
const MEMORY = 0.94; // of the smoothed curve, for each number; less at first

class LossCurve {
  constructor(canvas) {
    this.canvas = canvas;
    Object.assign(this, { losses: [], earlier: [], steps: 1 });
    for (const place of [document, window]) {
      place.addEventListener(place === document ? "theme" : "resize", () => this.draw());
    }
  }

  // A new run of `steps` steps.
  begin(steps) {
    if (this.losses.length) this.earlier = this.losses;
    Object.assign(this, { losses: [], steps });
    this.draw();
  }

  // Add [step, loss] numbers.
  add(losses) {
    this.losses.push(...losses);
    this.steps = Math.max(this.steps, this.losses.at(-1)?.[0] ?? 0);
    this.draw();
  }

  // [step, mean of the latest losses] of a curve.
  smooth(losses) {
    let mean = 0;
    return losses.map(([step, loss], i) => {
      const kept = Math.min(MEMORY, i / (i + 2));
      mean = kept * mean + (1 - kept) * loss;
      return [step, mean];
    });
  }

  get latest() {
    return this.smooth(this.losses).at(-1)?.[1];
  }

  // The range of the axis: of the smooth curves, without the steep first steps.
  range() {
    const all = [this.losses, this.earlier].flatMap((losses) => this.smooth(losses));
    const losses = all.map(([, loss]) => loss).filter(Number.isFinite);
    if (!losses.length) return [0.8, 1.2];
    const low = Math.floor(20 * Math.min(...losses) - 0.5) / 20;
    const highest = Math.ceil(20 * Math.max(...losses)) / 20;
    return [low, Math.min(Math.max(highest, low + 0.2), low + 0.3)];
  }

  draw() {
    const { canvas } = this, ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const [low, top] = this.range(), last = Math.max(this.steps, this.earlier.at(-1)?.[0] ?? 0);
    const x = (step) => ROOM.left + (step / last) * (width - ROOM.left - ROOM.right);
    const inRange = (loss) => (Math.min(Math.max(loss, low), top) - low) / (top - low);
    const y = (loss) => height - ROOM.bottom - inRange(loss) * (height - ROOM.top - ROOM.bottom);
    pen.scale(ratio, ratio);
    pen.font = "13px system-ui, sans-serif";
    pen.fillStyle = colour("muted");
    pen.strokeStyle = colour("rule");
    pen.textAlign = "right";
    const step = top - low > 0.5 ? 0.2 : 0.05;
    for (let loss = low; loss <= top + 1e-9; loss += step) {
      pen.fillText(loss.toFixed(2), ROOM.left - 6, y(loss) + 4);
      line(pen, [[x(0), y(loss)], [x(last), y(loss)]]);
    }
    pen.fillText(last.toLocaleString("en"), x(last), height - 10);
    pen.textAlign = "left";
    pen.fillText("0", x(0), height - 10);
    pen.textAlign = "center";
    pen.fillText("training step", x(last / 2), height - 10);
    const path = (losses) => losses.map(([step, loss]) => [x(step), y(loss)]);
    this.stroke(pen, colour("muted"), 1.5, 0.8, path(this.smooth(this.earlier)), [5, 4]);
    this.stroke(pen, colour("samples"), 1, 0.35, path(this.losses));
    this.stroke(pen, colour("samples"), 2.2, 1, path(this.smooth(this.losses)));
    const at = this.losses.at(-1)?.[0];
    const text = at ? `${this.latest.toFixed(3)} at step ${at}` : "empty";
    canvas.setAttribute("aria-label", `Loss curve: ${text}`);
  }

  stroke(pen, colour, width, opacity, points, dash = []) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.globalAlpha = opacity;
    pen.setLineDash(dash);
    line(pen, points);
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }
}

function line(pen, points) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
  pen.stroke();
}
