// The page: controls, the plane, and the worker that samples.

const $ = (id) => document.getElementById(id);
const BACKLOG = 24; // frames that wait: with more, some are left out to keep up
const MOST = 2000; // points of a set
const TRAILS = 60; // points on their way whose way is shown
const EARLIER = 8; // sets that stay in view
const STEP = 0.04; // of the plane's side: what an arrow key moves

const HINTS = {
  trace: "Drag the ring: it is one point of noise, and the line is its way to the data. Arrow keys "
    + "move it, too.",
  complete: "Click or tap to place points, drag to move them, and let the model complete the set; "
    + "without any it draws a new one. By keyboard: arrow keys, Enter to place, Backspace to undo.",
  draw: "This model draws whole sets, all points together.",
};

const scripts = [...document.querySelectorAll("script.model")];
const worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent])));
const canvas = $("board");
let model, board, scene, frames = [], job = 0, seed = 1, scheduled = false;

// What stands in the plane: given points, those drawn, those on their way and their ways so far.
const emptyScene = () => ({
  given: [], drawn: [], moving: [], trail: [], way: [], cross: null, finished: false,
});

// ---------------------------------------------------------------- a model

function choose(index) {
  const packed = JSON.parse(scripts[index].textContent);
  worker.postMessage({ load: packed });
  model = { ...packed, weights: null };
  model.tool = model.way === "alone" ? "trace" : model.completes ? "complete" : "draw";
  board = new Board(canvas, model);
  $("hint").textContent = HINTS[model.tool];
  $("again").textContent = model.tool === "trace" ? "New noise" : "Again";
  $("again").className = model.tool === "trace" ? "primary" : "";
  $("clear").hidden = model.tool !== "complete";
  setRange("steps", Object.keys(model.grids).length - 1,
           Object.keys(model.grids).indexOf(String(model.sample.num_steps)));
  setRange("points", Math.min(4 * model.sample.num_points, MOST), model.sample.num_points, 2);
  setRange("guidance", 4, model.sample.guidance_scale);
  $("guidance-row").hidden = !model.guides.length;
  showLabels();
  $("strip").replaceChildren();
  $("earlier").hidden = true;
  $("sampler").value = model.sample.sampler;
  restart();
  draw();
}

function setRange(id, max, value, min = 0) {
  Object.assign($(id), { min, max });
  $(id).value = value;
}

function showLabels() {
  const names = ["any", ...model.labels.map(({ name }) => name)];
  $("labels").hidden = !model.labels.length;
  $("chips").replaceChildren(...names.map((name, i) => {
    const chip = document.createElement("label"), text = document.createElement("span");
    const input = Object.assign(document.createElement("input"),
                                { type: "radio", name: "label", value: i - 1, checked: i === 0 });
    text.textContent = name;
    chip.className = "chip";
    chip.append(input, text);
    return chip;
  }));
  if (model.sample.label >= 0) $("chips").children[model.sample.label + 1].firstChild.checked = true;
}

const numSteps = () => Number(Object.keys(model.grids)[$("steps").value]);

const chosenLabel = () => Number(document.querySelector("[name=label]:checked").value); // -1: any

// The label to ask for; where any will do, one as often as in the data, or none with given points.
function label() {
  if (!model.labels.length) return null;
  if (chosenLabel() >= 0) return chosenLabel();
  if (model.unnamed && scene.given.length) return null;
  let rest = Math.random();
  const found = model.labels.findIndex(({ share }) => (rest -= share) < 0);
  return Math.max(found, 0);
}

// ---------------------------------------------------------------- asking the worker

function asked() {
  return {
    given: Float32Array.from(scene.given), numPoints: Number($("points").value),
    guidanceScale: Number($("guidance").value), sampler: $("sampler").value, numSteps: numSteps(),
  };
}

function draw() {
  const request = { ...asked(), label: label() };
  Object.assign(scene, { drawn: [], moving: [], trail: [], finished: false, label: request.label });
  frames = [];
  job += 1;
  document.body.dataset.state = "busy";
  say("…", true);
  worker.postMessage({ job, asked: request, seed });
  if (model.tool === "trace") trace();
  show();
}

function trace() {
  const [x, y] = scene.cross;
  const request = { ...asked(), given: new Float32Array(0), label: scene.label };
  worker.postMessage({ trace: Float32Array.of(x, y), asked: request, seed });
}

worker.onmessage = ({ data }) => {
  if (data.way) scene.way = data.way;
  else if (data.job === job) frames.push(...data.frames);
  if (data.seconds && data.job === job) frames.push({ seconds: data.seconds });
  show();
};
worker.onerror = ({ message }) => say(`The worker failed: ${message}`);

// Takes in the next frames: all of them in the end, and no backlog.
function advance() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let take = calm ? frames.length : Math.ceil(frames.length / BACKLOG);
  while (take-- > 0) takeIn(frames.shift());
}

function takeIn({ seconds, x, placed, time }) {
  if (seconds) return finish(seconds);
  if (placed.length !== scene.drawn.length) scene.trail = [];
  Object.assign(scene, { drawn: placed, moving: x });
  scene.trail.push(x);
  const total = (placed.length + x.length) / 2, of = $("points").value;
  say(`t = ${time.toFixed(2)}, ${total} of ${of} points${labelName()}`, true);
}

const labelName = () => (scene.label == null ? "" : `, label ${model.labels[scene.label].name}`);

function finish(seconds) {
  const all = [...scene.drawn, ...scene.moving];
  Object.assign(scene, { drawn: all, moving: [], trail: [], finished: true });
  say(`${all.length / 2} points in ${seconds.toFixed(1)} s, ${numSteps()} steps each${labelName()}`);
  document.body.dataset.state = "done";
  if (model.tool !== "trace") keep();
  update();
}

// ---------------------------------------------------------------- drawing

function show() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    advance();
    paint(board, scene);
    if (frames.length) show();
  });
}

function paint(board, { given, drawn, moving, trail, way, cross, finished }) {
  board.begin();
  const count = Math.max((drawn.length + moving.length) / 2, given.length / 2);
  const radius = board.radius(finished ? count : Math.max(count, Number($("points").value)));
  board.dots(drawn.slice(given.length), "samples", radius, count > 400 ? 0.7 : 0.9);
  for (let i = 0; i < Math.min(moving.length, 2 * TRAILS); i += 2) {
    board.line(trail.flatMap((x) => [x[i], x[i + 1]]), "samples", 1, 0.5);
  }
  board.dots(moving, "samples", radius, 0.6);
  board.dots(given, "data", Math.max(radius, board.side / 140));
  if (way.length) {
    board.line(way, "data", 1.6);
    board.dots(way, "data", 2.2);
    board.dots(way.slice(-2), "data", 6);
    board.ring(way[0], way[1], "data", 10);
  }
  if (cross && document.activeElement === canvas && model.tool === "complete") board.cross(...cross);
}

// A small picture of the set, before the others.
function keep() {
  const small = document.createElement("canvas"), { given, drawn } = scene;
  small.setAttribute("role", "img");
  small.setAttribute("aria-label", `set of ${drawn.length / 2} points${labelName()}`);
  small.scene = { ...emptyScene(), given: [...given], drawn, finished: true };
  $("earlier").hidden = false;
  $("strip").prepend(small);
  while ($("strip").children.length > EARLIER) $("strip").lastChild.remove();
  paint(new Board(small, model), small.scene);
}

function repaint() {
  if (!scene) return;
  show();
  for (const small of $("strip").children) paint(new Board(small, model), small.scene);
}

// ---------------------------------------------------------------- points by hand

function restart() {
  const cross = [...model.data_mean];
  if (model.tool === "trace") cross[0] += model.sigma_data;
  scene = { ...emptyScene(), cross };
  forget();
  say("");
}

// What was drawn no longer goes with the points.
function forget() {
  job += 1;
  frames = [];
  Object.assign(scene, { drawn: [], moving: [], trail: [], finished: false });
  document.body.dataset.state = "ready";
  update();
  show();
}

function update() {
  const n = scene.given.length / 2;
  canvas.dataset.given = n;
  canvas.dataset.drawn = scene.drawn.length / 2;
  $("complete").hidden = model.tool === "trace";
  $("complete").textContent = n ? "Complete" : "Draw a set";
  $("again").disabled = model.tool !== "trace" && !scene.finished;
  $("clear").disabled = !n && !scene.drawn.length;
  $("points").min = Math.max(2, n + 1);
  // A latent that comes from given points has no label; a set without one has nothing to guide to.
  $("labels").disabled = model.way === "latent" && n > 0;
  $("guidance").disabled = !model.guides.includes("history") && n > 0
    && ($("labels").disabled || chosenLabel() < 0);
  $("steps-value").textContent = numSteps();
  $("points-value").textContent = $("points").value;
  $("guidance-value").textContent = Number($("guidance").value).toFixed(2);
}

const own = (point) => point.map((v, d) => (v * model.scale[d] + model.shift[d]).toFixed(2));

function place(point) {
  if (scene.given.length / 2 >= $("points").value - 1) return say("The set is full.");
  scene.given.push(...point);
  forget();
  say(`${scene.given.length / 2} placed, the last at (${own(point).join(", ")})`);
}

function undo() {
  scene.given.splice(-2);
  forget();
  say(`${scene.given.length / 2} placed`);
}

let held = null; // the index of the point that is being dragged, or "cross"

function pointAt(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (v) => Math.min(Math.max(v, 0), board.side);
  return board.toPoint(inside(event.clientX - box.left - canvas.clientLeft),
                       inside(event.clientY - box.top - canvas.clientTop));
}

function nearest([x, y], event) {
  const reach = ((event.pointerType === "touch" ? 20 : 10) / board.side) * 2 * board.half;
  for (let i = scene.given.length - 2; i >= 0; i -= 2) {
    if (Math.hypot(scene.given[i] - x, scene.given[i + 1] - y) < reach) return i;
  }
  return null;
}

canvas.onpointerdown = (event) => {
  if (model.tool === "draw" || event.button) return;
  const point = pointAt(event);
  canvas.setPointerCapture(event.pointerId);
  if (model.tool === "complete") {
    held = nearest(point, event);
    if (held === null) {
      held = scene.given.length;
      place(point);
    }
    scene.cross = point;
  } else {
    held = "cross";
    moveTo(point);
  }
};

canvas.onpointermove = (event) => {
  if (held !== null) moveTo(pointAt(event));
};

canvas.onpointerup = canvas.onpointercancel = () => {
  held = null;
};

function moveTo(point) {
  scene.cross = point;
  if (model.tool === "trace") return trace();
  if (typeof held === "number" && held < scene.given.length) {
    scene.given.splice(held, 2, ...point);
    forget();
  }
  say(`(${own(point).join(", ")})`);
  show();
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

canvas.onkeydown = (event) => {
  const arrow = ARROWS[event.key];
  if (model.tool === "draw") return;
  if (arrow) {
    const size = (event.shiftKey ? STEP / 4 : STEP) * 2 * board.half;
    moveTo(scene.cross.map((v, d) => {
      const low = model.data_mean[d] - board.half, high = model.data_mean[d] + board.half;
      return Math.min(Math.max(v + size * arrow[d], low), high);
    }));
  } else if (event.key === "Enter" || event.key === " ") {
    if (model.tool === "trace") $("again").click();
    else place([...scene.cross]);
  } else if (event.key === "Backspace" && model.tool === "complete") {
    undo();
  } else {
    return;
  }
  event.preventDefault();
};
canvas.onfocus = canvas.onblur = show;

// ---------------------------------------------------------------- controls

// busy: it changes at once again, and is not read out.
function say(text, busy = false) {
  $("status").ariaBusy = busy;
  $("status").textContent = text;
}

$("complete").onclick = draw;
$("again").onclick = () => {
  seed += 1;
  draw();
};
$("clear").onclick = () => {
  seed += 1;
  restart();
};
$("model").onchange = () => choose($("model").value);
$("controls").onsubmit = (event) => event.preventDefault();
$("controls").oninput = (event) => {
  update();
  if (event.target.id !== "model" && model.tool === "trace") draw();
};
document.addEventListener("theme", repaint);
addEventListener("resize", repaint);

for (const name of ["dpm++2m", "sde-dpm++2m", "ddim", "ancestral", "heun"]) {
  $("sampler").append(new Option(name));
}
startTheme();
choose(0);
