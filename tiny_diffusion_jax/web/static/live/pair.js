// Two sets from the same noise, each with its own sampler, steps, spacing and guidance, and the
// error of samplers against their number of steps.

const SIDES = ["left", "right"];
const PAIR_SECONDS = 4; // from noise to data
const PAIR_POINTS = [16, 50, 100, 256, 500];
const GUIDANCE = [0, 0.5, 1, 1.5, 2, 3, 4];
const FITTED = [8, 32]; // steps between which the order of a sampler is measured
const STARTS = { left: ["ddim", 5], right: ["heun", 5] }; // sampler and steps at first

class Pair {
  constructor(root) {
    Object.assign(this, { root, job: 0, sets: {}, playback: new Playback(PAIR_SECONDS) });
    this.playback.loop = false;
    this.playback.listen(() => this.show());
    $("pair-form").onsubmit = (event) => event.preventDefault();
    $("pair-form").onchange = ({ target }) => this.change(target.id);
    $("pair-noise").onclick = () => {
      $("pair-seed").value = Number($("pair-seed").value) + 1;
      this.draw();
    };
    $("pair-time").oninput = ({ target }) => {
      const time = target.value / 1000; // `pause` moves the slider
      this.playback.pause();
      this.playback.seek(time);
    };
    $("pair-play").onclick = () => {
      if (this.playback.playing) this.playback.pause();
      else this.playback.play();
    };
    $("pair-measure").onclick = () => this.measure();
    for (const [target, type] of [[document, "theme"], [window, "resize"]]) {
      target.addEventListener(type, () => this.show());
    }
    this.choose();
  }

  // The worker starts when the tab is opened for the first time.
  start() {
    if (this.worker) return;
    this.worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent])));
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = ({ message }) => {
      this.say(`The worker failed: ${message}`);
      this.root.dataset.state = "ready";
      $("pair-measure").disabled = false;
    };
    this.load();
    this.draw();
  }

  // The controls of the chosen model.
  choose() {
    const packed = JSON.parse(scripts[$("pair-model").value].textContent);
    this.model = { ...packed, weights: null };
    const { labels, sample, steps, guides } = this.model;
    const fill = (id, values, chosen) => {
      $(id).replaceChildren(...values.map((value) => new Option(value)));
      $(id).value = chosen;
    };
    fill("pair-points", [...new Set([...PAIR_POINTS, sample.num_points])].sort((a, b) => a - b),
         sample.num_points);
    fill("pair-label", labels.map(({ name }) => name), labels[3 % labels.length]?.name);
    $("pair-label-row").hidden = !labels.length;
    for (const side of SIDES) {
      fill(`${side}-sampler`, samplersOf(this.model), STARTS[side][0]);
      fill(`${side}-steps`, steps, STARTS[side][1]);
      $(`${side}-spacing`).value = sample.spacing;
      fill(`${side}-guidance`, [...new Set([...GUIDANCE, sample.guidance_scale])].sort(
        (a, b) => a - b), sample.guidance_scale);
      $(`${side}-guidance`).closest("label").hidden = !guides.includes("label") || !labels.length;
      this[side] = new Board($(`${side}-plane`), this.model);
      if (!$(`${side}-sampler`).value) $(`${side}-sampler`).selectedIndex = 0;
      if (!$(`${side}-steps`).value) $(`${side}-steps`).selectedIndex = steps.length - 1;
    }
    $("pair-measure").closest("figure").hidden = isDistilled(this.model);
  }

  load() {
    this.worker?.postMessage({ load: JSON.parse(scripts[$("pair-model").value].textContent) });
  }

  change(id) {
    if (id === "pair-model") {
      this.choose();
      this.load();
    }
    this.draw();
  }

  asked(side) {
    const value = (name) => $(`${side}-${name}`).value;
    const label = this.model.labels.findIndex(({ name }) => name === $("pair-label").value);
    return {
      given: new Float32Array(0), label: label < 0 ? null : label,
      numPoints: Number($("pair-points").value), sampler: value("sampler"),
      numSteps: Number(value("steps")), spacing: value("spacing"),
      guidanceScale: Number(value("guidance")),
    };
  }

  get seed() {
    return Number($("pair-seed").value);
  }

  // Draw both sets anew. A curve that is measured ends.
  draw() {
    this.sets = {};
    this.job += 1;
    this.forgetCurve();
    this.root.dataset.state = "busy";
    saveState();
    document.dispatchEvent(new Event("film"));
    $("pair-measure").disabled = true;
    if (!this.worker) return;
    this.say("…");
    for (const side of SIDES) {
      this.worker.postMessage({ job: this.job, whole: side, asked: this.asked(side),
                                seed: this.seed });
    }
  }

  receive({ job, whole: side, frames, set, curve }) {
    if (job !== this.job) return;
    if (curve !== undefined) return this.addToCurve(curve);
    this.sets[side] = { frames, set };
    if (!SIDES.every((name) => this.sets[name])) return;
    this.root.dataset.state = "done";
    document.dispatchEvent(new Event("film"));
    $("pair-measure").disabled = false;
    const { dim, sigma_data: sigmaData } = this.model;
    const far = medianDistance(this.sets.left.set, this.sets.right.set, dim) / sigmaData;
    this.say(`Median distance between the two ends of a point: ${far.toPrecision(2)} standard `
      + "deviations of the data. Both sets start from the same noise.");
    this.show();
  }

  say(text) {
    $("pair-distance").textContent = text;
  }

  // Draw both planes at the place of the playback: each shows the last step that it has reached.
  show() {
    const { time, playing } = this.playback;
    $("pair-time").value = Math.round(1000 * time);
    $("pair-play").textContent = playing ? "Pause" : "Play";
    if (this.root.hidden) return;
    for (const side of SIDES) {
      const board = this[side], frames = this.sets[side]?.frames;
      board.begin();
      if (!frames) continue;
      const i = Math.floor(time * (frames.length - 1) + 1e-9), { x, placed, time: t } = frames[i];
      const radius = board.radius(this.sets[side].set.length / 2);
      board.dots(placed, "samples", radius, 0.8);
      board.dots(x, "samples", radius, 0.8);
      $(`${side}-status`).textContent = `t = ${t.toFixed(3)}, ${this.evaluations(side)}`;
    }
  }

  // What live/share.js copies and saves.
  get film() {
    const most = () => Math.max(...SIDES.map((side) => this.sets[side].frames.length));
    return {
      canvases: () => SIDES.map((side) => $(`${side}-plane`)),
      length: () => (SIDES.every((side) => this.sets[side]) ? most() : 0),
      show: async (i) => this.playback.seek(i / (most() - 1)),
    };
  }

  // The number of evaluations of the network for each point of a set. Guidance evaluates the
  // network with the condition and without, see `contexts`.
  evaluations(side) {
    const steps = Number($(`${side}-steps`).value);
    const calls = $(`${side}-sampler`).value === "heun" ? 2 * steps - 1 : steps;
    const count = this.isGuided(side) ? 2 * calls : calls;
    return `${count} network evaluation${count === 1 ? "" : "s"} a point`;
  }

  // Guidance of a latent moves the latent, and no point.
  isGuided(side) {
    const { strategy, guides } = this.model, { label, guidanceScale } = this.asked(side);
    const hasHistory = strategy === "autoregressive" && guides.includes("history");
    const hasGuide = label === null ? hasHistory : guides.includes("label");
    return guidanceScale !== 1 && strategy !== "latent" && hasGuide;
  }

  // ---------------------------------------------------------------- the chart

  measure() {
    this.job += 1;
    this.forgetCurve();
    $("pair-measure").disabled = true;
    this.playback.pause();
    $("pair-values").textContent = "a run of 200 Heun steps …";
    this.worker.postMessage({ job: this.job, curve: true, asked: this.asked("left"),
                              seed: this.seed });
  }

  forgetCurve() {
    this.lines = null;
    this.chart?.clear();
    $("pair-values").textContent = "";
    this.root.dataset.curve = "";
  }

  // The chart's x is log2 of the number of steps.
  addToCurve(point) {
    if (!point) return this.endCurve();
    this.lines ??= new Map();
    if (!this.lines.has(point.sampler)) {
      const colour = samplerColour(point.sampler);
      this.lines.set(point.sampler, { name: point.sampler, x: [], y: [], colour });
    }
    const { x, y } = this.lines.get(point.sampler);
    x.push(Math.log2(point.numSteps));
    y.push(point.error || null);
    this.drawCurve();
  }

  drawCurve() {
    const chart = this.root.querySelector(".chart"), lines = [...this.lines.values()];
    const xMarks = [...new Set(lines.flatMap(({ x }) => x))];
    const content = { lines, readable: lines, xs: xMarks, xMarks, at: undefined };
    const xText = (x) => `${Math.round(2 ** x)}`;
    if (!this.chart) this.chart = new Chart(chart, { xName: "steps", xText, ...content });
    Object.assign(this.chart, content);
    this.chart.draw();
    this.chart.say(xMarks.length - 1);
  }

  // The order of each sampler: minus the slope of its line in the log-log plane.
  endCurve() {
    $("pair-measure").disabled = false;
    const orders = [...this.lines.values()].map(({ name, x, y }) => {
      const [a, b] = FITTED.map((steps) => x.indexOf(Math.log2(steps)));
      return `${name} ${(-Math.log2(y[b] / y[a]) / (x[b] - x[a])).toFixed(1)}`;
    });
    this.root.dataset.curve = "done";
    this.say(`Order of the samplers between ${FITTED.join(" and ")} steps, as measured: `
      + `${orders.join(", ")}.`);
  }
}
