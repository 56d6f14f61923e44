// Field and density of the model and of the data, at the noise level of the player.

const SEEN = 1e-3; // share of the highest density; errors at lower densities are not drawn

class Field {
  // data: {nu, sigma, error, model, data, p, density, rows} of reports/density.py; level 0 is the data
  constructor(root, data, playback, player) {
    Object.assign(this, {
      nu: data.nu,
      sigma: data.sigma,
      error: data.error,
      rows: data.rows,
      playback,
      player,
    });
    for (const name of ["model", "data", "p", "density"]) this[name] = unpack(data[name]);
    this.size = data.model.shape[1];
    this.canvases = [...root.querySelectorAll("canvas")];
    this.status = root.querySelector("[role=status]");
    this.choice = root.querySelector("select");
    const names = [
      "no noise: density",
      ...this.sigma.map((sigma) => `sigma ${sigma.toPrecision(2)}`),
    ];
    this.choice.append(...names.map((name, k) => new Option(name, k)));
    this.choice.addEventListener("change", () =>
      playback.seek(this.timeOf(Number(this.choice.value))),
    );
    playback.listen(() => this.follow());
    document.addEventListener("theme", () => this.draw());
    addEventListener("resize", () => this.draw());
    this.follow();
  }

  // The level nearest to the noise of the player; 0 if the noise is far below the lowest level.
  levelAt(time) {
    const noise = this.noise(time);
    if (noise < this.nu[0] / 2) return 0;
    const far = this.nu.map((nu) => Math.abs(Math.log(nu / noise)));
    return 1 + far.indexOf(Math.min(...far));
  }

  // sigma / alpha; finite even if alpha is 0.
  noise(time) {
    const { alpha, sigma } = this.player.process.level(time);
    return Math.min(sigma / alpha, 1e9);
  }

  // The time at which the player has the noise of a level.
  timeOf(level) {
    const times = Array.from({ length: 1001 }, (_, i) => i / 1000);
    const far = times.map((time) =>
      level ? Math.abs(Math.log(this.noise(time) / this.nu[level - 1])) : this.noise(time),
    );
    return times[far.indexOf(Math.min(...far))];
  }

  follow() {
    const level = this.levelAt(this.playback.time);
    if (level === this.level) return;
    this.level = level;
    this.choice.value = level;
    this.draw();
  }

  draw() {
    for (const canvas of this.canvases) {
      canvas.width = canvas.height =
        Math.round(canvas.clientWidth * Math.min(devicePixelRatio || 1, 2)) || 300;
    }
    if (this.level === 0) this.drawDensities();
    else this.drawFields(this.level - 1);
  }

  drawDensities() {
    const size = this.density.shape[0];
    const pair = (i) => [this.density.values[2 * i], this.density.values[2 * i + 1]];
    const all = Array.from({ length: size * size }, (_, i) => pair(i));
    const [model, real] = [0, 1].map((k) => all.map((values) => values[k]));
    const top = dense(real);
    const tones = [cssColour("--samples"), cssColour("--data")];
    this.paint(0, size, (i) => [tones[0], model[i] / top]);
    this.paint(1, size, (i) => [tones[1], real[i] / top]);
    if (this.rows) {
      this.paint(2, size, () => [tones[0], 0]);
      this.note("density", "rows", "");
      this.status.textContent =
        "The data are rows of a table, which have no density to compare with.";
      return;
    }
    this.paint(2, size, (i) => [
      tones[model[i] > real[i] ? 0 : 1],
      Math.abs(model[i] - real[i]) / top,
    ]);
    const apart = all.reduce((sum, [a, b]) => sum + Math.abs(a - b), 0) / 2;
    this.note("density", "density", "colour of the larger density");
    const percent = (100 * apart).toFixed(1);
    this.status.textContent =
      `${percent} % of the mass is in other places than in the data ` +
      `(total variation, on ${size} x ${size} pixels).`;
  }

  drawFields(level) {
    const { size } = this;
    const at = level * size * size;
    const tone = cssColour("--muted");
    const alert = cssColour("--alert");
    [0, 1].forEach((k) => this.paint(k, size, (i) => [tone, 0.35 * this.p.values[at + i]]));
    this.paint(2, size, (i) => {
      const j = 2 * (at + i);
      const off = Math.hypot(
        this.model.values[j] - this.data.values[j],
        this.model.values[j + 1] - this.data.values[j + 1],
      );
      return [alert, this.p.values[at + i] > SEEN && Number.isFinite(off) ? Math.min(1, off) : 0];
    });
    this.arrows(0, this.model.values, at, "--samples");
    this.arrows(1, this.data.values, at, "--data");
    this.note("sigma x score", "sigma x score", "full colour: as large as the noise");
    const error = this.error[level];
    const [sigma, off] = [this.sigma[level].toPrecision(3), Math.sqrt(error).toPrecision(2)];
    this.status.textContent =
      `At sigma ${sigma} the network predicts the noise with an error of ${off} ` +
      "standard deviations, " +
      "on average over the noised data" +
      (this.rows ? ", compared with the exact answer for the rows of the table." : ".");
  }

  note(...texts) {
    texts.forEach(
      (text, k) =>
        (this.canvases[k].parentElement.querySelector("figcaption span").textContent = text),
    );
  }

  // Fills a canvas from size x size values, lowest y first: pick(i) -> [colour, strength in 0..1].
  paint(k, size, pick) {
    const small = pixelCanvas(size, pick);
    const canvas = this.canvases[k];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  }

  arrows(k, values, at, colour) {
    const context = this.canvases[k].getContext("2d");
    const wide = this.canvases[k].width;
    const { size } = this;
    const step = size / ALONG;
    context.strokeStyle = css(cssColour(colour));
    context.lineWidth = Math.max(1.2, wide / 330);
    context.beginPath();
    for (let j = 0; j < ALONG; j++) {
      for (let i = 0; i < ALONG; i++) {
        const [column, row] = [Math.floor((i + 0.5) * step), Math.floor((j + 0.5) * step)];
        const n = 2 * (at + row * size + column);
        const [x, y] = [(column + 0.5) / size, (row + 0.5) / size];
        scoreArrow(context, x * wide, wide - y * wide, [values[n], values[n + 1]], wide / ALONG);
      }
    }
    context.stroke();
  }
}
