// The panel "Train": its controls, and the worker that trains. The page calls
//   new TrainingPanel(root, {options, shapes, drawn})
// shapes: [{name, points f32[n, 2]}], normalised. drawn(): the shapes of a page that has a drawing;
// without it the plane of the panel is drawn on.

const REBUILDS = ["shape", "second", "hidden_dim", "num_frequencies", "scale", "schedule", "steps"];
const WORDS = { idle: "Train", running: "Stop", stopped: "Continue", done: "Train longer" };
const SKETCH = "sketch"; // value of the choice "your drawing"

class TrainingPanel {
  constructor(root, { options, shapes, drawn }) {
    Object.assign(this, { root, options, shapes, drawn, state: "idle", seed: 0 });
    this.plane = new Plane(this.find("plane"));
    this.curve = new LossCurve(this.find("curve"));
    this.sketch = new Drawing();
    if (!drawn) new Pencil(this.plane, this.sketch, () => this.isSketch, () => this.reset());
    this.find("train").onclick = () => (this.state === "running" ? this.stop() : this.train());
    this.find("anew").onclick = () => this.start();
    this.find("erase").onclick = () => {
      this.sketch.undo();
      this.reset();
    };
    this.find("form").onsubmit = (event) => event.preventDefault();
    this.find("form").oninput = ({ target }) => this.change(target.name);
    this.reset();
  }

  find(name) {
    return this.root.querySelector(`[data-train="${name}"]`);
  }

  value(name) {
    const { value } = this.root.querySelector(`[name="${name}"]`);
    return value === "" || Number.isNaN(Number(value)) ? value : Number(value);
  }

  get isSketch() {
    return !this.drawn && this.value("shape") === SKETCH;
  }

  // The points that are drawn on the plane, x and y in turn.
  get sketched() {
    return this.sketch.shape.points.flat();
  }

  // Normalised shapes f32[n, 2] that are chosen or drawn.
  chosen() {
    if (this.drawn) return this.drawn().map(normalized);
    const names = [this.value("shape"), this.value("second")].filter((name) => name !== "");
    const points = names.map((name) =>
      name === SKETCH ? normalized(this.sketched) : this.shapes[name].points);
    return points.filter(({ length }) => length > 2);
  }

  // The level whose log(sigma / alpha) is nearest to the slider.
  level() {
    const log = Math.LN10 * this.value("noise");
    const distance = ({ log_snr }) => Math.abs(log + log_snr / 2);
    const inside = this.levels.slice(1, -1); // the last level may have alpha = 0
    const distances = inside.map(distance);
    return 1 + distances.indexOf(Math.min(...distances));
  }

  change(name) {
    if (name === "learning_rate") this.worker?.postMessage({ rate: this.value(name) });
    if (name === "noise") this.worker?.postMessage({ level: this.level() });
    if (REBUILDS.includes(name)) {
      const wasRunning = this.state === "running";
      this.reset();
      if (wasRunning && this.chosen().length) this.start();
    }
    this.update();
  }

  // Forget the network; show only the data.
  reset() {
    if (this.state === "running") this.worker.postMessage({ stop: true });
    this.state = "idle";
    this.expected = undefined; // pictures of the network that was forgotten are ignored
    const data = this.isSketch ? Float32Array.from(this.sketched)
      : Float32Array.from(this.chosen().flatMap((points) => [...points.subarray(0, 3000)]));
    this.plane.show({ data, samples: [], field: [] });
    this.levels = makeLevels(this.value("schedule") || this.options.schedule);
    this.update();
  }

  train() {
    if (this.state === "idle") return this.start();
    if (this.state === "done") this.curve.steps += this.options.steps;
    this.run("resume", true);
  }

  // Train a new network.
  start() {
    const names = ["hidden_dim", "num_frequencies", "scale", "schedule", "steps", "learning_rate"];
    for (const name of names) this.options[name] = this.value(name);
    this.seed += 1;
    this.curve.begin(this.options.steps);
    this.first = 0;
    const shapes = this.chosen();
    if (this.isSketch) this.plane.show({ data: joinedPoints(shapes) });
    this.plane.show({ samples: [], field: [] });
    this.run("start", { shapes, options: this.options, seed: this.seed });
  }

  // The worker starts when it is needed for the first time.
  run(message, value) {
    if (!this.worker) {
      const text = document.getElementById("train-worker").textContent;
      this.worker = new Worker(URL.createObjectURL(new Blob([text])));
      this.worker.onmessage = ({ data }) => this.receive(data);
      this.worker.onerror = ({ message: reason }) => this.say(`The worker failed: ${reason}`);
      this.runs = 0;
    }
    this.expected = ++this.runs;
    this.state = "running";
    this.began = { time: performance.now(), step: message === "start" ? 0 : this.step };
    const noise = this.argument?.noise ?? null;
    this.worker.postMessage({ [message]: value, level: this.level(), noise });
    this.update();
  }

  stop() {
    this.worker.postMessage({ stop: true });
  }

  receive({ run, state, step, losses, samples, field, trajectory, job }) {
    if (trajectory) return this.argument?.receive(0, trajectory, job);
    if (run !== this.expected) return;
    if (!state) return this.plane.show({ field });
    Object.assign(this, { state, step });
    this.curve.add(losses);
    this.plane.show({ samples, field });
    const seconds = (performance.now() - this.began.time) / 1000;
    this.speed = Math.round((step - this.began.step) / seconds);
    const words = { running: "training", stopped: "stopped", done: "trained" }[state];
    const loss = this.curve.latest;
    this.say(`${words}: step ${step.toLocaleString("en")}, loss ${loss ? loss.toFixed(3) : "…"}, `
      + `${this.speed} steps/s`, state === "running");
    this.root.dataset.step = step;
    if (this.argument?.isOn) this.argument.tell();
    this.update();
  }

  update() {
    const { state } = this, has = this.chosen().length > 0;
    this.root.dataset.state = state;
    this.argument?.update();
    const [button, anew] = [this.find("train"), this.find("anew")];
    button.textContent = WORDS[state];
    button.disabled = !has;
    anew.hidden = state === "idle" || state === "running";
    this.find("erase").hidden = !this.isSketch;
    this.plane.canvas.style.touchAction = this.isSketch ? "none" : ""; // a finger draws
    const { alpha, sigma } = this.levels[this.level()];
    const noise = `σ/α = ${(sigma / alpha).toPrecision(2)}`;
    this.find("noise").textContent = noise;
    this.root.querySelector("[name=noise]").setAttribute("aria-valuetext", noise);
    if (state !== "idle") return;
    if (has) this.say(`${this.parameters().toLocaleString("en")} parameters, untrained`);
    else this.say(`Draw ${this.drawn ? "a shape above" : "on the plane"}, then press Train.`);
  }

  // Number of parameters of the network that the controls describe.
  parameters() {
    const names = ["hidden_dim", "num_frequencies"], { options } = this;
    const asked = Object.fromEntries(names.map((name) => [name, this.value(name)]));
    const sizes = layerSizes({ ...options, ...asked });
    return sizes.reduce((sum, { rows, columns }) => sum + (rows + 1) * columns, 0);
  }

  // busy: the text changes at once again, and is not read out.
  say(text, busy = false) {
    const status = this.find("status");
    status.ariaBusy = busy;
    status.textContent = text;
  }
}

function joinedPoints(shapes) {
  return Float32Array.from(shapes.flatMap((points) => [...points]));
}
