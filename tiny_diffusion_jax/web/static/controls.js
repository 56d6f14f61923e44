// Buttons, slider and keys of one or more players that share a playback.

class Controls {
  constructor(root, playback, players) {
    Object.assign(this, { root, playback, players });
    this.part = (name) => root.querySelector(`[data-do="${name}"]`);
    this.fill();
    this.connect();
    playback.listen(() => this.update());
    document.addEventListener("theme", () => this.setLook({}));
    addEventListener("resize", () => this.draw());
    document.addEventListener("keydown", (event) => this.key(event));
    this.setLook({ colour: this.part("colour").value, shown: this.shown() });
  }

  // Hides controls that these players do not support.
  fill() {
    const { players } = this;
    const NAMES = {
      member: players[0].marks.kind,
      set: "set",
      plain: "one colour",
      start: "start position",
    };
    // The legend of one player is the legend of all, so all must have the same members.
    const membersOf = ({ marks }) => JSON.stringify([marks.kind, marks.members]);
    const haveSame = players.every((p) => membersOf(p) === membersOf(players[0]));
    const colourings = players[0]
      .colourings()
      .filter((c) => players.every((p) => p.colourings().includes(c)))
      .filter((c) => c !== "member" || haveSame);
    this.part("colour").append(...colourings.map((name) => new Option(NAMES[name], name)));
    const marked = players.some(({ marks }) => marks.stray || marks.given);
    this.part("marks").closest("label").hidden = !marked;
    this.part("direction").closest("label").hidden = !players.every((p) => p.forward);
  }

  connect() {
    const { playback } = this;
    const on = (name, type, act) =>
      this.part(name).addEventListener(type, ({ target }) => act(target));
    on("play", "click", () => this.toggle());
    on("time", "input", (slider) => playback.seek(slider.value / slider.max));
    on("speed", "change", (choice) => (playback.speed = Number(choice.value)));
    on("loop", "change", (box) => (playback.loop = box.checked));
    on("trails", "change", (box) => this.setLook({ trails: box.checked }));
    on("marks", "change", (box) => this.setLook({ marks: box.checked }));
    on("colour", "change", (choice) => this.setLook({ colour: choice.value }));
    this.part("training")?.addEventListener("input", ({ target }) =>
      this.showSnapshot(Number(target.value)),
    );
    for (const box of this.root.querySelectorAll("[data-layer]"))
      box.addEventListener("change", () => this.setLook({ shown: this.shown() }));
    on("direction", "change", (choice) => {
      this.setLook({ direction: choice.value });
      playback.end = choice.value === "reverse" ? 1 : 0;
    });
  }

  // {layer: whether it is shown}; a page without switches shows points.
  shown() {
    const boxes = [...this.root.querySelectorAll("[data-layer]")];
    if (!boxes.length) return { points: true };
    return Object.fromEntries(boxes.map((box) => [box.dataset.layer, box.checked]));
  }

  // The sets of snapshot k of the training; the last position shows the final sets.
  showSnapshot(k) {
    const slider = this.part("training");
    const step = this.players[0].snapshots[k]?.trainingStep ?? Number(slider.dataset.steps);
    slider.setAttribute("aria-valuetext", `step ${step}`);
    this.root.querySelector("[data-show=training]").textContent = step.toLocaleString("en");
    this.setLook({ snapshot: k });
    this.onTraining?.(step);
  }

  toggle() {
    if (this.playback.playing) this.playback.pause();
    else this.playback.play();
  }

  // Space plays and pauses, and an arrow moves by one step of the sampler, also on the slider.
  key(event) {
    const { target, key } = event;
    const onSlider = target === this.part("time");
    if (!this.root.offsetParent) return; // another tab is open
    if (event.ctrlKey || event.altKey || event.metaKey || target.closest("[data-keys]")) return;
    if (!onSlider && ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName)) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ...(onSlider && { ArrowDown: -1, ArrowUp: 1 }) };
    if (key === " " && !["BUTTON", "SUMMARY", "A"].includes(target.tagName)) this.toggle();
    else if (steps[key]) this.step(steps[key]);
    else return;
    event.preventDefault();
  }

  step(by) {
    const { playback } = this;
    const [{ process, chosen }] = this.players;
    playback.pause();
    playback.seek(process.stepped(playback.time, by, Math.min(chosen, process.numSets - 1)));
  }

  setLook(look) {
    for (const player of this.players) player.setLook(look);
    this.update();
    this.root
      .querySelector(".legend")
      .replaceChildren(...this.players[0].legend().map(legendEntry));
  }

  draw() {
    for (const player of this.players) player.draw(this.playback.time);
  }

  update() {
    this.draw();
    const { playback } = this;
    const [player] = this.players;
    const level = player.process.level(
      playback.time,
      Math.min(player.chosen, player.process.numSets - 1),
    );
    const texts = readout(level);
    this.root.querySelector("[data-blocks]").hidden = level.count < 2;
    for (const [name, text] of Object.entries(texts)) {
      this.root.querySelector(`[data-show="${name}"]`).textContent = text;
    }
    const slider = this.part("time");
    slider.value = Math.round(playback.time * slider.max);
    slider.setAttribute("aria-valuetext", `step ${texts.step}, noise ${texts.sigma}`);
    this.part("play").textContent = playback.playing ? "Pause" : "Play";
  }
}

// {step, t, sigma, logSnr} of a noise level, as texts.
function readout({ step, steps, block, count, t, sigma, logSnr }) {
  return {
    block: `${block + 1} of ${count}`,
    step: `${Math.round(step)} of ${steps}`,
    t: t.toFixed(3),
    sigma: sigma ? sigma.toPrecision(3) : "0",
    logSnr: Number.isFinite(logSnr)
      ? (logSnr > 0 ? "+" : "") + logSnr.toFixed(1)
      : logSnr > 0
        ? "infinite"
        : "-infinite",
  };
}

function legendEntry({ colour, text, shape = "disc" }) {
  const [entry, dot] = [document.createElement("li"), document.createElement("span")];
  dot.className = `dot ${shape}`;
  dot.style.color = css(colour);
  entry.append(dot, text);
  return entry;
}
