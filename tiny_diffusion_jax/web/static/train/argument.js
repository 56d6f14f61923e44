// Superposition beside separation: the network that is trained here, and a released model of sets,
// draw a set from the same noise, with the same placed points.

const SET_SIZE = 256, SET_STEPS = 25;
const FRAME = 45; // ms for each step of the samplers
const MOST_PLACED = 20;
const SOME = 3; // points: from one or two, the model of sets may guess the other shape

// The number of `points` f32[n, 2] that are nearest to each of the shapes [f32[m, 2], ...].
function nearestShapes(points, shapes) {
  const counts = shapes.map(() => 0);
  const distances = shapes.map((shape) => squaredDistances(points, shape));
  for (let i = 0; i < points.length / 2; i++) {
    const each = distances.map((of) => of[i]);
    counts[each.indexOf(Math.min(...each))] += 1;
  }
  return counts;
}

// Squared distance of each of the points f32[n, 2] to the nearest point of a shape f32[m, 2].
function squaredDistances(points, shape) {
  const distances = new Float32Array(points.length / 2).fill(Infinity);
  for (let i = 0; i < distances.length; i++) {
    for (let j = 0; j < shape.length; j += 2) {
      const squared = (shape[j] - points[2 * i]) ** 2 + (shape[j + 1] - points[2 * i + 1]) ** 2;
      distances[i] = Math.min(distances[i], squared);
    }
  }
  return distances;
}

// Frames f32[n, 2] of several planes, played together.
class Film {
  constructor(planes) {
    this.planes = planes;
  }

  // films: a list of frames for each plane; isLive(): whether the first plane is drawn elsewhere;
  // done(): called after the last frame.
  play(films, isLive, done) {
    const mine = (this.playing = {}), began = performance.now();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const length = Math.max(...films.map((frames) => frames.length));
    const next = () => {
      if (this.playing !== mine) return undefined;
      const now = Math.floor((performance.now() - began) / FRAME);
      const at = calm ? length - 1 : Math.min(now, length - 1);
      films.forEach((frames, i) => {
        if (isLive() && !i) return; // the first plane shows the network that is being trained
        this.planes[i].show({ samples: frames[Math.min(at, frames.length - 1)] });
      });
      if (at < length - 1) return requestAnimationFrame(next);
      this.playing = null;
      return done();
    };
    next();
  }

  stop() {
    this.playing = null;
  }
}

class Argument {
  // panel: a TrainingPanel; load(): a released model of sets, as web/live.py packs it. The model
  // was trained on mixtures of the shapes `members`.
  constructor(panel, load, members) {
    Object.assign(this, { panel, load, members, placed: [], seed: 1 });
    this.part = panel.find("argument");
    this.plane = new Plane(panel.find("sets"));
    this.film = new Film([panel.plane, this.plane]);
    panel.find("noise-again").onclick = () => this.draw((this.seed += 1));
    panel.find("unplace").onclick = () => this.place(null);
    for (const button of this.panel.root.querySelectorAll("[data-place]")) {
      button.onclick = () => this.placeSome(members[Number(button.dataset.place)]);
    }
    for (const plane of this.film.planes) {
      const { canvas } = plane;
      canvas.addEventListener("pointerdown", ({ offsetX, offsetY, button }) => {
        if (this.isOn && !button) this.place(plane.board.toPoint(offsetX, offsetY));
      });
      canvas.addEventListener("keydown", (event) => this.key(event, plane));
    }
  }

  // The argument needs the shapes of the released model.
  get isOn() {
    const { panel, members } = this;
    const names = ["shape", "second"].map((name) => panel.shapes[panel.value(name)]?.name);
    return members.every((member) => names.includes(member));
  }

  // The noise of the points that are not placed; undefined while another mixture is trained.
  get noise() {
    if (!this.isOn) return undefined;
    return new Random(1000 + this.seed).normals(2 * SET_SIZE - this.placed.length);
  }

  // The controls or the network changed.
  update() {
    const { isOn, panel } = this;
    const isShown = this.part.hidden !== isOn;
    this.part.hidden = !isOn;
    panel.root.classList.toggle("argued", isOn);
    panel.find("tries").hidden = !isOn;
    if (!isShown) dispatchEvent(new Event("resize"));
    if (!isOn) return this.film.stop();
    this.plane.show({ data: panel.plane.data });
    if (panel.state !== "running" && panel.state !== this.before) this.draw();
    this.before = panel.state;
    return undefined;
  }

  key(event, plane) {
    if (!this.isOn) return;
    const direction = DIRECTIONS[event.key];
    this.cursor ??= [0, 0];
    if (direction) this.cursor = this.cursor.map((v, d) => v + PENCIL_STEP * direction[d]);
    else if (event.key === " " || event.key === "Enter") this.place(this.cursor);
    else if (event.key === "Backspace") this.place(null);
    else return;
    event.preventDefault();
    plane.show({ cursor: this.cursor });
  }

  // Place a point, or remove all points.
  place(point) {
    if (this.placed.length >= 2 * MOST_PLACED || !point) this.placed = [];
    if (point) this.placed.push(...point);
    this.draw();
  }

  // Place random points of the shape `name` in place of all others, among the third of its points
  // that are farthest from the other shape: points on both shapes belong to either.
  placeSome(name) {
    const [points, other] = [true, false].map((isNamed) => {
      const member = this.members.find((one) => (one === name) === isNamed);
      return this.panel.shapes.find((shape) => shape.name === member).points;
    });
    const distance = squaredDistances(points, other);
    const farthest = [...distance.keys()].sort((i, j) => distance[j] - distance[i]);
    this.placed = Array.from({ length: SOME }, () => {
      const i = 2 * farthest[Math.floor((Math.random() * farthest.length) / 3)];
      return [points[i], points[i + 1]];
    }).flat();
    this.draw();
  }

  // Draw one set with each model.
  draw() {
    const { panel, seed, noise } = this, placed = Float32Array.from(this.placed);
    for (const plane of this.film.planes) plane.show({ placed });
    this.job = (this.job ?? 0) + 1;
    this.frames = [null, null];
    this.start();
    this.worker.postMessage({ job: this.job, seed, asked: {
      given: placed, label: null, numPoints: SET_SIZE, guidanceScale: 1, sampler: "dpm++2m",
      numSteps: SET_STEPS, noise,
    } });
    if (panel.state === "idle") this.frames[0] = [new Float32Array(0)];
    else {
      const trajectory = { noise, steps: SET_STEPS, job: this.job };
      panel.worker.postMessage({ noise, trajectory });
    }
    this.tell();
  }

  // The worker of the live page samples the released model.
  start() {
    if (this.worker) return;
    const text = document.getElementById("worker").textContent;
    this.worker = new Worker(URL.createObjectURL(new Blob([text])));
    this.worker.postMessage({ load: this.load() });
    this.worker.onmessage = ({ data }) => {
      if (data.job !== this.job) return;
      this.arriving = data.frames[0]?.time === 1 ? [] : this.arriving;
      this.arriving.push(...data.frames.map(({ x }) => x));
      if (data.seconds) this.receive(1, this.arriving, data.job);
    };
  }

  // Frames of one of the two planes; both are played when both have come.
  receive(i, frames, job) {
    if (job !== this.job) return;
    this.frames[i] = frames;
    if (!this.frames.every(Boolean)) return;
    this.film.play(this.frames, () => this.panel.state === "running", () => this.tell());
  }

  // Say how many points of each set lie on each shape.
  tell() {
    const { panel } = this, shapes = panel.chosen();
    const names = ["shape", "second"].map((name) => panel.shapes[panel.value(name)].name);
    const describe = (points) => {
      if (!points.length) return "not trained yet";
      const counts = nearestShapes(points, shapes), total = counts[0] + counts[1];
      const percent = (count) => `${Math.round((100 * count) / total)}\u00a0%`;
      return names.map((name, i) => `${percent(counts[i])}\u00a0${name}`).join(", ");
    };
    panel.find("share-points").textContent = describe(panel.plane.samples);
    panel.find("share-sets").textContent = describe(this.plane.samples);
  }
}
