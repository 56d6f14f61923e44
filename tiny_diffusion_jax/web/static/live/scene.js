// The contents of the plane, as they come from the worker, and how they are drawn.

const $ = (id) => document.getElementById(id);
const BACKLOG = 24; // frames that wait: with more, a repaint takes in several
const TRAILS = 60; // moving points whose trails are shown
const EARLIER = 8; // sets that stay in view

const canvas = $("board");
let model, board, scene, frames = [], scheduled = false;

// Points that are given, drawn, and moving with their trails; `frame` of the film, and its field.
const emptyScene = () => ({
  given: [], drawn: [], moving: [], trail: [], trajectory: [], cross: null, finished: false,
  field: [], frame: -1,
});

// Takes in the next frames: all of them in the end, and no backlog.
function advance() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let take = calm ? frames.length : Math.ceil(frames.length / BACKLOG);
  while (take-- > 0) takeIn(frames.shift());
}

function takeIn(frame) {
  if (frame.seconds) return finish(frame.seconds);
  film.frames.push(frame);
  pose(frame);
  askField(film.frames.length - 1);
}

// Sets the scene to a frame of the worker.
function pose({ x, placed, time }) {
  if (placed.length !== scene.drawn.length) scene.trail = [];
  Object.assign(scene, { drawn: placed, moving: x });
  scene.trail.push(x);
  const total = (placed.length + x.length) / 2, of = $("points").value;
  say(`t = ${time.toFixed(3)}, ${total} of ${of} points${labelName()}`, true);
}

// The crosshair is for the keyboard.
const isAimed = () => byKeyboard && document.activeElement === canvas && model.tool === "complete";

const stepsEach = (n) => `${n} step${n === 1 ? "" : "s"} each`;
const labelName = () => (scene.label == null ? "" : `, label ${model.labels[scene.label].name}`);

function finish(seconds) {
  const all = [...scene.drawn, ...scene.moving];
  Object.assign(scene, { drawn: all, moving: [], trail: [], finished: true });
  const time = `${seconds.toFixed(1)} s`;
  say(`${all.length / 2} points in ${time}, ${stepsEach(numSteps())}${labelName()}`);
  document.body.dataset.state = "done";
  if (model.tool !== "trace") keep();
  $("film").hidden = film.frames.length < 2;
  document.dispatchEvent(new Event("film"));
  $("film-time").max = film.frames.length;
  $("film-time").value = film.frames.length;
  $("film-time").setAttribute("aria-valuetext", "the whole set");
  update();
}

// ---------------------------------------------------------------- the frames of a set, again

let film = { frames: [] };

function startFilm() {
  film = { frames: [] };
  document.dispatchEvent(new Event("film"));
  $("film").hidden = true;
  $("film-play").textContent = "Play";
}

// Shows frame i; the last one is the whole set.
function showFrame(i) {
  const { length } = film.frames;
  $("film-time").value = i;
  scene.trail = [];
  askField(Math.min(i, length - 1));
  if (i < length) {
    pose(film.frames[i]);
    const t = film.frames[i].time.toFixed(3);
    $("film-time").setAttribute("aria-valuetext", `frame ${i} of ${length}, t = ${t}`);
  } else {
    const last = film.frames[length - 1];
    Object.assign(scene, { drawn: [...last.placed, ...last.x], moving: [] });
    say(`${scene.drawn.length / 2} points${labelName()}`);
    $("film-time").setAttribute("aria-valuetext", "the whole set");
  }
  scene.finished = i >= length;
  show();
}

function playFilm() {
  const slider = $("film-time"), { frames: all } = film;
  film.playing = !film.playing;
  if (film.playing && Number(slider.value) >= all.length) showFrame(0);
  $("film-play").textContent = film.playing ? "Pause" : "Play";
  const began = performance.now(), first = Number(slider.value);
  const seconds = Math.min(8, Math.max(2, all.length / 30));
  const tick = (now) => {
    if (film.frames !== all || !film.playing) return;
    const passed = Math.max(0, now - began) / 1000; // a frame may have begun before the click
    const share = first / all.length + passed / seconds;
    showFrame(Math.min(all.length, Math.floor(share * all.length)));
    if (share < 1) return requestAnimationFrame(tick);
    playFilm();
  };
  if (film.playing) requestAnimationFrame(tick);
}

// What live/share.js copies and saves.
const sampleFilm = {
  canvases: () => [canvas],
  length: () => (document.body.dataset.state === "done" ? film.frames.length + 1 : 0),
  async show(i) {
    showFrame(i);
    const frame = String(Math.min(i, film.frames.length - 1));
    for (let k = 0; k < 100 && isOn("field") && canvas.dataset.field !== frame; k++) {
      await new Promise((resume) => setTimeout(resume, 10));
    }
    paint(board, scene);
  },
};

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

// Given points are blue and in rings; drawn points are orange, and some moving ones have trails.
function paint(board, scene) {
  const { given, drawn, moving, trail, trajectory, cross, finished } = scene;
  board.begin();
  if (!scene.isSmall) paintLayers(board, scene);
  const count = Math.max((drawn.length + moving.length) / 2, given.length / 2);
  const radius = board.radius(finished ? count : Math.max(count, Number($("points").value)));
  board.dots(drawn.slice(given.length), "samples", radius, count > 400 ? 0.7 : 0.9);
  for (let i = 0; i < Math.min(moving.length, 2 * TRAILS); i += 2) {
    board.line(trail.flatMap((x) => [x[i], x[i + 1]]), "samples", 1, 0.5);
  }
  board.dots(moving, "samples", radius, 0.6);
  const size = Math.max(radius, board.side / 140);
  board.dots(given, "data", size);
  for (let i = 0; i < given.length; i += 2) board.ring(given[i], given[i + 1], "ink", size + 1);
  if (trajectory.length) {
    board.line(trajectory, "ink", 1.6);
    board.dots(trajectory, "ink", 2.2);
    board.dots(trajectory.slice(-2), "ink", 6);
    board.ring(trajectory[0], trajectory[1], "ink", 10);
  }
  if (cross && isAimed()) board.cross(...cross);
}

// A small picture of the set, before the others.
function keep() {
  const small = document.createElement("canvas"), { given, drawn } = scene;
  small.setAttribute("role", "img");
  small.setAttribute("aria-label", `set of ${drawn.length / 2} points${labelName()}`);
  small.scene = { ...emptyScene(), given: [...given], drawn, finished: true, isSmall: true };
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
