// The page: its models, its controls, and the worker that samples.

const MOST = 2000; // points of a set
const PREVIEW_STEPS = 5; // most steps of a set that is drawn while a point is dragged

const HINTS = {
  trace: "Drag the ring: it is one point of noise, and the line is its way to the data. Arrow keys "
    + "move it, too.",
  complete: "Click or tap to place points, and drag to move them: the model completes the set. "
    + "Your points are blue in rings, and its points are orange. By keyboard: arrow keys, Enter to "
    + "place, Backspace to undo.",
  draw: "This model draws whole sets, and completes none.",
};

const scripts = [...document.querySelectorAll("script.model")];
const worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent])));
let job = 0, seed = 1, previewing = null; // previewing: {job, given}

// A distilled model jumps to the data in each step, and other samplers do not apply.
const isDistilled = ({ sample }) => sample.sampler === "consistency";
const samplersOf = (model) => (isDistilled(model) ? ["consistency"]
  : ["dpm++2m", "sde-dpm++2m", "ddim", "ancestral", "heun"]);

// ---------------------------------------------------------------- a model

// isDrawn: whether a first set is drawn.
function choose(index, isDrawn = true) {
  const packed = JSON.parse(scripts[index].textContent);
  worker.postMessage({ load: packed });
  model = { ...packed, weights: null };
  model.tool = model.strategy === "independent" ? "trace" : model.completes ? "complete" : "draw";
  board = new Board(canvas, model);
  canvas.style.touchAction = model.tool === "draw" ? "auto" : ""; // a finger scrolls the page
  $("hint").textContent = HINTS[model.tool];
  $("again").textContent = model.tool === "trace" ? "New noise" : "Again";
  $("again").className = model.tool === "trace" ? "primary" : "";
  $("clear").hidden = model.tool !== "complete";
  setRange("steps", model.steps.length - 1, model.steps.indexOf(model.sample.num_steps));
  setRange("points", Math.min(4 * model.sample.num_points, MOST), model.sample.num_points, 2);
  setRange("guidance", 4, model.sample.guidance_scale);
  $("guidance-row").hidden = !model.guides.length;
  showLabels();
  setLayers();
  $("strip").replaceChildren();
  $("earlier").hidden = true;
  $("sampler").replaceChildren(...samplersOf(model).map((name) => new Option(name)));
  $("sampler").value = model.sample.sampler;
  restart();
  if (isDrawn) draw();
}

function setRange(id, max, value, min = 0) {
  Object.assign($(id), { min, max });
  $(id).value = value;
}

// Warn of a number of points that the network has not seen in training.
function showUnseen(numPoints) {
  const [least, most] = model.seen_sizes ?? [0, Infinity];
  $("unseen").hidden = least <= numPoints && numPoints <= most;
  $("unseen").textContent = "The model was trained with sets of "
    + (least < most ? `${least} to ${most}` : most) + " points.";
}

function showLabels() {
  const names = ["any", ...model.labels.map(({ name }) => name)];
  $("labels").hidden = !model.labels.length;
  $("chips").replaceChildren(...names.map((name, i) => {
    const chip = document.createElement("label"), text = document.createElement("span");
    const input = Object.assign(document.createElement("input"),
                                { type: "radio", name: "label", value: i - 1 });
    text.textContent = name;
    chip.append(input, text);
    return chip;
  }));
  $("chips").children[Math.max(model.sample.label, -1) + 1].firstChild.checked = true;
}

const numSteps = () => model.steps[$("steps").value];
const previewSteps = () =>
  Math.max(...model.steps.filter((n) => n <= PREVIEW_STEPS && n <= numSteps()));

const chosenLabel = () => Number(document.querySelector("[name=label]:checked").value); // -1: any

// The label to ask for; where any will do, one as often as in the data, or none with given points.
function label() {
  if (!model.labels.length) return null;
  if (chosenLabel() >= 0) return chosenLabel();
  if (model.unnamed && scene.given.length) return null;
  let rest = new Random(seed).uniform(); // the label follows from the seed
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
  Object.assign(scene, { drawn: [], moving: [], trail: [], finished: false, field: [],
                         frame: -1, label: request.label });
  startFilm();
  frames = [];
  job += 1;
  document.body.dataset.state = "busy";
  say("…", true);
  worker.postMessage({ job, asked: request, seed });
  if (model.tool === "trace") trace();
  show();
}

// Complete the set again while a point is placed or dragged: with few steps, the same noise and
// label, and one set at a time. The set before stays in view until then.
function preview() {
  if (previewing) return;
  previewing = { job: (job += 1), given: [...scene.given] };
  frames = [];
  Object.assign(scene, { field: [], frame: -1 });
  const request = { ...asked(), numSteps: previewSteps(), label: scene.label ?? label() };
  worker.postMessage({ job, asked: request, seed, isPreview: true });
}

function showPreview(set) {
  const { given } = previewing;
  previewing = null;
  if (held === null) return; // the whole number of steps follows
  Object.assign(scene, { drawn: [...scene.given, ...set.slice(given.length)], moving: [] });
  canvas.dataset.previews = Number(canvas.dataset.previews ?? 0) + 1;
  const steps = stepsEach(previewSteps());
  say(`${scene.drawn.length / 2} points, ${steps} while you hold the point`, true);
  if (given.some((v, i) => v !== scene.given[i])) preview();
  show();
}

function trace() {
  const [x, y] = scene.cross;
  const request = { ...asked(), given: new Float32Array(0), label: scene.label };
  worker.postMessage({ job, trace: Float32Array.of(x, y), asked: request, seed });
}

worker.onmessage = ({ data }) => {
  if (data.trajectory && data.job !== job) return; // of the model or the set before
  if (data.trajectory) scene.trajectory = data.trajectory;
  else if (data.field) return receiveField(data);
  else if (data.preview) return previewing?.job === data.job && showPreview(data.preview);
  else if (data.job === job) frames.push(...data.frames);
  if (data.seconds && data.job === job) frames.push({ seconds: data.seconds });
  show();
};
worker.onerror = ({ message }) => {
  previewing = null;
  document.body.dataset.state = "ready";
  say(`The worker failed: ${message}`);
};

// ---------------------------------------------------------------- controls

function restart() {
  const cross = [...model.data_mean];
  if (model.tool === "trace") cross[0] += model.sigma_data;
  scene = { ...emptyScene(), cross };
  forget();
  say("");
}

// Remove the drawn points, which no longer go with the given points.
function forget() {
  job += 1;
  frames = [];
  previewing = null;
  Object.assign(scene, { drawn: [], moving: [], trail: [], finished: false, field: [],
                         frame: -1 });
  startFilm();
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
  $("labels").disabled = model.strategy === "latent" && n > 0;
  $("guidance").disabled = !model.guides.includes("history") && n > 0
    && ($("labels").disabled || chosenLabel() < 0);
  if (document.activeElement !== $("seed")) $("seed").value = seed; // a seed is being typed
  $("steps-value").textContent = numSteps();
  $("steps").setAttribute("aria-valuetext", numSteps()); // its value is a position in a list
  $("points-value").textContent = $("points").value;
  showUnseen(Number($("points").value));
  $("guidance-value").textContent = Number($("guidance").value).toFixed(2);
  saveState();
}

// busy: it changes at once again, and is not read out.
function say(text, busy = false) {
  $("status").ariaBusy = busy;
  $("status").textContent = text;
}

$("complete").onclick = draw;
$("film-play").onclick = playFilm;
$("film-time").oninput = ({ target }) => {
  if (film.playing) playFilm();
  showFrame(Number(target.value));
};
$("again").onclick = () => {
  seed += 1;
  draw();
};
$("clear").onclick = () => {
  seed += 1;
  restart();
};
$("model").onchange = () => choose($("model").value);
$("seed").onchange = ({ target }) => {
  seed = target.value = seedOf(target.value);
  draw();
};
$("controls").onsubmit = (event) => event.preventDefault();
$("controls").oninput = (event) => {
  if (event.target.id === "seed") return; // it counts when it is complete
  update();
  if (event.target.name === "label") repaint(); // the density below the points
  if (!["model", "seed"].includes(event.target.id) && model.tool === "trace") draw();
};
document.addEventListener("theme", repaint);
addEventListener("resize", repaint);

startTheme();
