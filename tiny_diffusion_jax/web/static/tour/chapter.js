// A chapter of the tour: its pictures, controls and numbers. It starts when it comes into view.

const AHEAD = "400px"; // distance from the screen at which a chapter starts

class Chapter {
  // data: {law, moons, both, levels, load}, see tour.js
  constructor(root, data) {
    Object.assign(this, { root, ...data });
    root.addEventListener("input", () => this.soon());
    for (const details of root.querySelectorAll("details")) {
      details.addEventListener("toggle", () => this.isReady && this.answerOnce());
    }
    const watch = new IntersectionObserver((entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      watch.disconnect();
      this.begin();
    }, { rootMargin: AHEAD });
    watch.observe(root);
  }

  begin() {
    this.start();
    this.update();
    this.root.dataset.state = "ready";
    this.answerOnce();
  }

  get isReady() {
    return this.root.dataset.state === "ready";
  }

  // Update in the next frame, once.
  soon() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      if (!this.isReady) return;
      this.update();
      this.answerOnce();
    });
  }

  // Compute the numbers of the answer if it is open and `asked` has changed, because they take long.
  answerOnce() {
    if (!this.root.querySelector("details").open) return;
    const asked = this.asked();
    if (asked === this.answered) return;
    this.answered = asked;
    this.answer();
  }

  // The choice of the reader that the answer depends on.
  asked() {
    return null;
  }

  answer() {}

  find(name) {
    return this.root.querySelector(`[data-tour="${name}"]`);
  }

  value(name) {
    const { type, value, checked } = this.find(name);
    return type === "checkbox" ? checked : type === "range" ? Number(value) : value;
  }

  say(numbers) {
    for (const [name, text] of Object.entries(numbers)) this.find(name).textContent = text;
  }

  picture(name, options) {
    return new Picture(this.find(name), { moved: () => this.soon(), ...options });
  }

  // The level of the slider "level", whose left end is noise.
  level() {
    const slider = this.find("level"), T = this.levels.length - 1;
    const t = Math.max(1, Math.round((1 - Number(slider.value)) * T)), level = this.levels[t];
    const text = `t = ${(t / T).toFixed(2)}, σ/α = ${number(level.sigma / level.alpha)}`;
    slider.setAttribute("aria-valuetext", text);
    this.say({ "level-text": text });
    return { ...level, t, spread: Math.hypot(level.alpha, level.sigma) };
  }

  // The choice of a slider over a list of values.
  choice(name, values) {
    const slider = this.find(name), value = values[Number(slider.value)];
    slider.setAttribute("aria-valuetext", value);
    this.say({ [`${name}-text`]: value });
    return value;
  }
}

const number = (v, digits = 2) => {
  const text = Number(v.toPrecision(digits)).toString();
  return text.replace("-", "\u2212");
};
const fixed = (v, decimals = 2) => v.toFixed(decimals).replace("-", "\u2212");
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

// Mean distance of points f32[n, 2] from others, one by one.
function meanDistance(points, others) {
  let sum = 0;
  for (let i = 0; i < points.length; i += 2) {
    sum += Math.hypot(points[i] - others[i], points[i + 1] - others[i + 1]);
  }
  return (2 * sum) / points.length;
}
