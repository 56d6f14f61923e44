// Chapters of labels and sets: guidance, superposition, sets and completion.

const GUIDED = 250, GUIDED_STEPS = 15;
const REACH = 0.1; // a point of the data is covered by a sample that is so near, in its units

class Guidance extends Chapter {
  start() {
    this.plane = this.picture("plane");
    this.noise = new Random(6).normals(2 * GUIDED);
  }

  // Samples of the label "dinosaur" with a guidance scale w.
  sample(w) {
    const { law, moons, levels } = this, denoise = (x, level) => {
      const out = new Float32Array(x.length);
      for (let i = 0; i < x.length; i += 2) {
        const [given, other] = [law, moons].map((one) => one.at(x[i], x[i + 1], level));
        const [p, q] = softmax([given.logDensity, other.logDensity]);
        out.set(given.x_0.map((v, d) => {
          const free = p * v + q * other.x_0[d];
          return free + w * (v - free);
        }), i);
      }
      return out;
    };
    return trajectories(denoise, this.noise, levels, { steps: GUIDED_STEPS }).at(-1);
  }

  update() {
    const { law, moons, plane } = this, w = Number(this.value("scale"));
    const samples = this.sample(w), sure = this.certainty(samples);
    const cover = percent(this.covered(samples));
    this.say({ "scale-text": fixed(w, 1), sure: percent(sure), cover });
    plane.show({ data: Float32Array.from([...law.points, ...moons.points]), samples });
  }

  // The mean over points of p(dinosaur | point), by the exact densities.
  certainty(points) {
    return mean(Array.from({ length: points.length / 2 }, (_, i) =>
      this.both.ofPoint(points[2 * i], points[2 * i + 1], this.levels[1])[0]));
  }

  // The share of the dinosaur's components that a sample is near to.
  covered(samples) {
    const { points, count } = this.law, isNear = (k) => {
      for (let i = 0; i < samples.length; i += 2) {
        const [dx, dy] = [samples[i] - points[2 * k], samples[i + 1] - points[2 * k + 1]];
        if (Math.hypot(dx, dy) < REACH) return true;
      }
      return false;
    };
    return mean(Array.from({ length: count }, (_, k) => Number(isNear(k))));
  }

  answer() {
    const real = this.law.draw(GUIDED, new Random(12));
    Object.entries({ real, one: this.sample(1), three: this.sample(3) }).forEach(([name, points]) =>
      this.say({ [`${name}-sure`]: percent(this.certainty(points)),
                 [`${name}-cover`]: percent(this.covered(points)) }));
  }
}

const SIZES = [1, 2, 5, 10, 20, 50, 100, 200], FILM_STEPS = 25;
const TRIALS = 10, TRIAL_SIZE = 50, TRIAL_STEPS = 15; // sets that are compared
const MAJORITY = 0.8; // of the points of a separate set

const FRAME_MS = 90; // of a step that is played

// The share of points that are more probable under the first member of a SetLaw.
function dinoShare(both, points, level) {
  return mean(Array.from({ length: points.length / 2 }, (_, i) =>
    Number(both.ofPoint(points[2 * i], points[2 * i + 1], level)[0] > 0.5)));
}

function describeShare(dino) {
  const rounded = Math.round(100 * dino); // so that both add up to 100
  return `${rounded}\u00a0% dinosaur, ${100 - rounded}\u00a0% moons`;
}

class Superposition extends Chapter {
  start() {
    this.planes = ["left", "right"].map((name) => this.picture(name));
    this.seed = 1;
    this.find("again").onclick = () => {
      this.seed += 1;
      this.soon();
    };
    this.find("play").onclick = () => this.play();
    this.find("time").addEventListener("input", () => clearInterval(this.timer)); // by the reader
    this.data = Float32Array.from([...this.law.points, ...this.moons.points]);
  }

  films(seed, size, steps = FILM_STEPS) {
    const noise = new Random(100 + seed).normals(2 * size), { both, levels } = this;
    return [both.single, both].map((law) =>
      trajectories((x, level) => law.denoise(x, level), noise, levels, { steps }));
  }

  update() {
    const size = this.choice("size", SIZES), at = Number(this.value("time"));
    const key = `${this.seed} ${size}`;
    if (key !== this.key) Object.assign(this, { key, frames: this.films(this.seed, size) });
    const level = timeGrid(this.levels, FILM_STEPS)[at];
    const spread = Math.hypot(level.alpha, level.sigma);
    const x_t = this.frames.map((film) => film[at].map((v) => v * spread));
    this.planes.forEach((plane, i) => plane.show({ data: this.data, samples: this.frames[i][at] }));
    const seen = level.sigma ? level : this.levels[1];
    const [set] = this.both.ofSet(x_t[1], seen);
    this.find("time").setAttribute("aria-valuetext", `t = ${fixed(level.time)}`);
    this.say({
      "time-text": `t = ${fixed(level.time)}`,
      "left-share": describeShare(dinoShare(this.both, x_t[0], seen)),
      "right-share": describeShare(dinoShare(this.both, x_t[1], seen)),
      certain: set > 0.5 ? `${percent(set)} dinosaur` : `${percent(1 - set)} moons`,
    });
  }

  play() {
    const slider = this.find("time");
    clearInterval(this.timer);
    slider.value = 0;
    this.timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      this.soon();
      if (slider.value === slider.max) clearInterval(this.timer);
    }, FRAME_MS);
  }

  answer() {
    const count = [0, 0];
    for (let trial = 0; trial < TRIALS; trial++) {
      this.films(500 + trial, TRIAL_SIZE, TRIAL_STEPS).forEach((film, i) => {
        const dino = dinoShare(this.both, film.at(-1), this.levels[1]);
        count[i] += Number(Math.max(dino, 1 - dino) >= MAJORITY);
      });
    }
    this.say({ trials: String(TRIALS), "trial-size": String(TRIAL_SIZE),
               "single-sets": String(count[0]), "joint-sets": String(count[1]) });
  }
}

const MOST_GIVEN = 12, COMPLETED = 120, NETWORK_STEPS = 10;
const TELLING = [1, 2, 3, 5], REPEATS = 300; // given points of the answer, and draws of them

class Completion extends Chapter {
  start() {
    const handles = this.typical(this.law, this.moons);
    this.left = this.picture("left", { handles, most: MOST_GIVEN });
    this.right = this.picture("right", { handles, most: MOST_GIVEN });
    this.noise = new Random(21).normals(2 * COMPLETED);
    this.data = Float32Array.from([...this.law.points, ...this.moons.points]);
    this.find("clear").onclick = () => {
      handles.length = 0;
      this.soon();
    };
    this.find("again").onclick = () => {
      this.seed += 1;
      this.noise = new Random(21 + this.seed).normals(2 * COMPLETED);
      this.soon();
    };
    this.seed = 1;
    const text = document.getElementById("worker").textContent;
    this.worker = new Worker(URL.createObjectURL(new Blob([text])));
    this.worker.postMessage({ load: this.load() });
    this.worker.onmessage = ({ data }) => data.preview && this.receive(data);
    this.worker.onerror = ({ message }) => {
      this.pending = null;
      this.say({ "right-share": `failed: ${message}` });
    };
    Object.assign(this, { job: 0, tries: 0, hits: 0 });
  }

  get given() {
    return Float32Array.from(this.left.handles.flat());
  }

  // Three points of a law that are far from the other law.
  typical({ points, count }, other) {
    const distance = (k) => {
      let least = Infinity;
      for (let i = 0; i < other.points.length; i += 2) {
        const [dx, dy] = [other.points[i] - points[2 * k], other.points[i + 1] - points[2 * k + 1]];
        least = Math.min(least, Math.hypot(dx, dy));
      }
      return least;
    };
    const distances = Array.from({ length: count }, (_, k) => distance(k));
    const farthest = [...distances.keys()].sort((i, j) => distances[j] - distances[i]);
    return [0, 45, 90].map((rank) => [points[2 * farthest[rank]], points[2 * farthest[rank] + 1]]);
  }

  update() {
    const { both, given, levels, noise } = this;
    const denoise = (x, level) => both.denoise(x, level, given);
    const drawn = trajectories(denoise, noise, levels, { steps: FILM_STEPS }).at(-1);
    this.show(this.left, drawn);
    const [dino] = given.length ? both.ofSet(new Float32Array(0), CLEAN, given) : [0.5];
    this.say({
      "given-count": String(given.length / 2), "left-share": this.describe(drawn),
      certain: `${number(100 * dino, 3)}\u00a0%`,
    });
    this.request();
  }

  show(plane, drawn) {
    const { given } = this, inside = (board) => board.dots(given, "data", 5);
    plane.show({ data: this.data, samples: drawn, marks: [inside] });
  }

  describe(points) {
    return describeShare(dinoShare(this.both, points, this.levels[1]));
  }

  // The network draws one set at a time; the latest points wait for it.
  request() {
    if (this.pending) return (this.isStale = true);
    const given = this.given;
    this.pending = { job: (this.job += 1), count: given.length, given, seed: this.seed };
    this.isStale = false;
    this.worker.postMessage({ job: this.job, seed: this.seed, isPreview: true, asked: {
      given, label: null, numPoints: COMPLETED + given.length / 2, guidanceScale: 1,
      sampler: "dpm++2m", numSteps: NETWORK_STEPS,
    } });
    return undefined;
  }

  receive({ job, preview }) {
    if (job !== this.pending?.job) return;
    const { count, given, seed } = this.pending, drawn = Float32Array.from(preview).slice(count);
    this.pending = null;
    this.show(this.right, drawn);
    this.count(drawn, given, seed);
    this.root.dataset.drawn = Number(this.root.dataset.drawn ?? 0) + 1;
    if (this.isStale) this.request();
  }

  // Count the network's sets whose main shape is the more probable shape, once for each seed.
  count(drawn, given, seed) {
    this.say({ "right-share": this.describe(drawn) });
    if (String(given) !== this.counted) {
      Object.assign(this, { counted: String(given), seeds: new Set(), tries: 0, hits: 0 });
      this.say({ tries: "0 of 0" });
    }
    if (!given.length || this.seeds.has(seed)) return;
    this.seeds.add(seed);
    const likely = this.both.ofSet(new Float32Array(0), CLEAN, given)[0] > 0.5;
    this.tries += 1;
    this.hits += Number(dinoShare(this.both, drawn, this.levels[1]) > 0.5 === likely);
    this.say({ tries: `${this.hits} of ${this.tries}` });
  }

  // The exact mean of p(dinosaur | given) over random points of the dinosaur.
  answer() {
    const random = new Random(31), { law, both } = this;
    const texts = TELLING.map((n) => {
      const sure = Array.from({ length: REPEATS }, () =>
        both.ofSet(new Float32Array(0), CLEAN, law.draw(n, random))[0]);
      return `${percent(mean(sure))} with ${n}`;
    });
    this.say({ telling: texts.join(", ") });
  }
}
