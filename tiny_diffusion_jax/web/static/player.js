// A player: a large picture of one set, and small ones of all of them.

const REAL_SETS = 6; // in one row of a wide screen

class Player {
  // data: {reverse, forward, training}, as reports/player.py makes it
  // field: the data of the panel of the field, if there is one
  constructor(root, data, field) {
    this.root = root;
    this.marks = data.reverse.marks;
    this.reverse = new Reverse(data.reverse);
    this.forward = data.forward && new Forward(data.forward, this.reverse);
    this.snapshots = (data.training?.snapshots ?? []).map(
      (snapshot) => new SnapshotSets(snapshot, this.reverse),
    );
    this.look = { direction: "reverse", snapshot: this.snapshots.length, colour: this.colourings()[0], trails: false, marks: true, shown: { points: true } };
    this.layers = new Layers(field, this);
    this.chosen = 0;
    this.time = 1;
    this.stage = new Stage(root.querySelector("canvas"));
    this.thumbs = this.makeThumbs(root.querySelector(".sets:not(.real)"));
    this.realNames = data.real_names ?? [];
    this.reals = this.makeReals(root.querySelector(".real"));
    addEventListener("resize", () => this.drawReals());
    this.painted = new Map();
    this.select(0);
  }

  get process() {
    return this.isForward ? this.forward : (this.snapshot ?? this.reverse);
  }

  // The sets of the chosen snapshot of the training; undefined at the end of the training.
  get snapshot() {
    return this.snapshots[this.look.snapshot];
  }

  // The possible colourings, the best first.
  colourings() {
    const several = this.reverse.numSets > 1;
    return [...(this.marks.member ? ["member"] : []), "plain", ...(several ? ["set"] : []), "start"];
  }

  makeThumbs(list) {
    if (!list) return [];
    return this.reverse.sizes.map((_, k) => {
      const button = document.createElement("button");
      const [canvas, name] = [document.createElement("canvas"), document.createElement("span")];
      button.type = "button";
      name.className = "name";
      button.append(canvas, name);
      button.addEventListener("click", () => this.select(k, true));
      list.append(document.createElement("li"));
      list.lastChild.append(button);
      return { button, name, stage: new Stage(canvas, 300) };
    });
  }

  // Pictures of the first real sets, in a row.
  makeReals(list) {
    if (!list) return [];
    const sizes = this.forward.sizes.slice(0, REAL_SETS).filter((size) => size > 0);
    return sizes.map((_, k) => {
      const item = document.createElement("li");
      const [canvas, name] = [document.createElement("canvas"), document.createElement("span")];
      item.className = "still";
      name.className = "name";
      name.textContent = this.realNames[k] ?? `real set ${k + 1}`;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", name.textContent);
      item.append(canvas, name);
      list.append(item);
      return new Stage(canvas, 300);
    });
  }

  drawReals() {
    const [paper, ink] = [cssColour("--panel"), cssColour("--ink")];
    this.reals.forEach((stage, k) => {
      const colour = this.realColour(k);
      const colours = Uint8Array.from({ length: 3 * this.forward.numPoints }, (_, i) => colour[i % 3]);
      stage.draw(this.forward, k, 1, { paper, ink, alert: ink, colours, given: 0 });
    });
  }

  get isForward() {
    return this.look.direction === "forward";
  }

  // The forward process noises real sets, or the samples if there are none.
  get showsReal() {
    return this.isForward && this.root.dataset.forward === "real points";
  }

  // A label is given to the model, but the member is found in the final set.
  name(k) {
    if (this.showsReal) return this.realNames[k] ?? `set ${k + 1}`;
    const isKnown = !this.snapshot || this.marks.kind === "label";
    return (isKnown && this.marks.names[k]) || `set ${k + 1}`;
  }

  isRejected(k) {
    return !this.showsReal && !this.snapshot && Boolean(this.marks.rejected?.[k]);
  }

  nameThumbs() {
    const heading = this.root.querySelector("[data-heading]");
    if (heading) heading.textContent = this.showsReal ? "Real sets, with noise" : "Generated sets";
    this.thumbs.forEach(({ button, name }, k) => {
      button.parentElement.hidden = k >= this.process.numSets;
      button.classList.toggle("rejected", this.isRejected(k));
      name.textContent = this.name(k) + (this.isRejected(k) ? ": rejected" : "");
    });
  }

  // Enlarges set k.
  select(k, show = false) {
    this.chosen = k;
    this.nameThumbs();
    const name = this.name(k);
    this.thumbs.forEach(({ button }, i) => button.setAttribute("aria-pressed", i === k));
    this.root.querySelector("[data-set]").textContent =
      this.reverse.numSets > 1
        ? `Set ${k + 1} of ${this.process.numSets}${name === `set ${k + 1}` ? "" : ": " + name}`
        : "";
    this.root.querySelector("[data-note]").textContent = this.isRejected(k)
      ? "rejected: not like sets of one member"
      : "";
    this.draw(this.time);
    if (show) {
      this.root.querySelector(".stage").scrollIntoView({ block: "nearest" });
      this.onSelect?.(k);
    }
  }

  setLook(look) {
    Object.assign(this.look, look);
    this.painted.clear();
    this.drawReals();
    this.select(Math.min(this.chosen, this.process.numSets - 1));
  }

  draw(time) {
    this.time = time;
    const set = Math.min(this.chosen, this.process.numSets - 1);
    const { layers } = this;
    this.stage.draw(this.process, set, time, { ...this.lookOf(set), layers, shown: this.look.shown });
    const plain = { trails: false };
    this.thumbs.forEach(({ stage }, k) => {
      if (k < this.process.numSets)
        stage.draw(this.process, k, time, { ...this.lookOf(k), ...plain });
    });
  }

  // The `look` of set k for stage.js, cached until it changes.
  lookOf(k) {
    if (this.painted.has(k)) return this.painted.get(k);
    const look = {
      paper: cssColour("--panel"),
      ink: cssColour("--ink"),
      alert: cssColour("--alert"),
      colours: this.paint(k),
      trails: this.look.trails,
      stray: this.strays(k),
      given: this.numGiven,
    };
    this.painted.set(k, look);
    return look;
  }

  get showsMarks() {
    return !this.isForward && !this.snapshot && this.look.marks;
  }

  get numGiven() {
    return this.showsMarks ? this.marks.given : 0;
  }

  // Indices of the stray points of set k, if they are known and should be marked.
  strays(k) {
    return this.showsMarks ? this.marks.stray?.[k] : null;
  }

  // u8[3 N]: the colour of each point of set k.
  paint(k) {
    const { process } = this;
    const colours = new Uint8Array(3 * process.numPoints);
    const of = this.look.colour === "start" ? this.byStart(k) : () => this.setColour(k);
    for (let n = 0; n < process.sizes[k]; n++) colours.set(of(n), 3 * n);
    for (const n of this.strays(k) ?? []) colours.set(cssColour("--alert"), 3 * n);
    for (let n = 0; n < this.numGiven; n++) colours.set(cssColour("--data"), 3 * n);
    return colours;
  }

  setColour(k) {
    const { member } = this.marks;
    if (this.look.colour === "set") return memberColour(k);
    if (this.isForward) return this.realColour(k);
    if (this.look.colour === "member" && member && this.name(k) === this.marks.names[k]) return memberColour(member[k]);
    return cssColour("--samples");
  }

  // A real set has the colour of its member, if sets are coloured so and its member is known.
  realColour(k) {
    const member = this.showsRealMembers ? this.marks.members.indexOf(this.realNames[k]) : -1;
    return member < 0 ? cssColour("--data") : memberColour(member);
  }

  get showsRealMembers() {
    return this.look.colour === "member" && this.realNames.length > 0;
  }

  // A colour for each point by its direction at the start.
  byStart(k) {
    const { process } = this;
    const xy = new Float32Array(2 * process.numPoints);
    const { isForward } = this;
    if (!isForward)
      for (let n = 0; n < process.sizes[k]; n++) process.point(k, n, 0, xy);
    else process.positions(k, 1, xy);
    const { x, y } = process.window(isForward ? 1 : 0, k);
    return (n) => hue(Math.atan2(xy[2 * n + 1] - y, xy[2 * n] - x));
  }

  get showsMembers() {
    return this.look.colour === "member" && (!this.snapshot || this.marks.kind === "label");
  }

  // The meanings of colours of the row of real sets, unless the legend has them already.
  realLegend() {
    const { colour } = this.look, { members } = this.marks;
    if (!this.reals.length || (this.isForward && ["member", "plain"].includes(colour))) return [];
    if (!this.showsRealMembers) return [{ colour: cssColour("--data"), text: "real sets" }];
    if (this.showsMembers) return [];
    return members.map((text, m) => ({ colour: memberColour(m), text }));
  }

  // [{colour, text, shape}]: the meanings of the colours.
  legend() {
    const { marks } = this;
    const entries = [];
    const { isForward } = this;
    if (this.look.colour === "start")
      entries.push({
        colour: cssColour("--muted"),
        text: "colour: the direction of a point at the start",
      });
    else if (isForward && this.look.colour !== "set" && !this.showsRealMembers)
      entries.push({ colour: cssColour("--data"), text: this.root.dataset.forward });
    else if (!isForward && this.snapshot && this.look.colour !== "set" && marks.kind !== "label")
      entries.push({
        colour: cssColour("--samples"),
        text: `samples at step ${this.snapshot.trainingStep.toLocaleString("en")}`,
      });
    else if (this.look.colour === "member") {
      marks.members.forEach((text, m) =>
        entries.push({ colour: memberColour(m), text }),
      );
    } else if (this.look.colour === "plain")
      entries.push({ colour: cssColour("--samples"), text: "samples" });
    entries.push(...this.realLegend());
    if (this.showsMarks && marks.stray)
      entries.push({ colour: cssColour("--alert"), text: "stray point", shape: "cross" });
    if (this.numGiven)
      entries.push({ colour: cssColour("--data"), text: "given point", shape: "ring" });
    return [...(this.look.shown.points ? entries : []), ...this.layers.legend(this.look.shown)];
  }
}
