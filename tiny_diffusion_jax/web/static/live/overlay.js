// What can be shown below the points: the density of the data, and the arrows of the field.

const FAINT = 0.34; // opacity of the full tone of a density
let fieldAsked = null; // {job, frame} of the field that the worker computes

const isOn = (id) => $(id).checked && !$(id).closest("label").hidden;

// Show the switches that the model has. Points of a joint model have no field: the network moves
// each of them by all others.
function setLayers() {
  const tones = model.density && new Uint8Array(bytes(model.density.data));
  model.tones = tones;
  $("density").closest("label").hidden = !tones;
  $("field").closest("label").hidden = model.strategy === "joint";
  $("layers").hidden = !tones && model.strategy === "joint";
}

// {size, tones} of the chosen label if it has a picture, else of all points.
function densityOf(label) {
  const { density: { size }, tones } = model, area = size ** 2;
  const picture = tones.length > area ? 1 + (label ?? -1) : 0;
  return { size, tones: tones.subarray(picture * area, (picture + 1) * area) };
}

function paintLayers(board, { field }) {
  if (isOn("density")) {
    const { size, tones } = densityOf(model.labels.length ? chosenLabel() : null);
    board.shade(size, (i) => (FAINT * tones[i]) / 255, "data");
  }
  if (isOn("field")) board.arrows(field ?? []);
}

// Ask for the field at frame i of the set in view; one field at a time, the latest one next.
function askField(i) {
  scene.frame = i;
  if (!isOn("field") || i < 0 || fieldAsked?.job === job) return;
  fieldAsked = { job, frame: i };
  worker.postMessage({ job, field: i });
}

function receiveField({ job: of, frame, field }) {
  if (of !== job) return;
  fieldAsked = null;
  scene.field = field;
  canvas.dataset.field = frame;
  if (frame !== scene.frame) askField(scene.frame);
  show();
}

$("layers").onchange = () => {
  scene.field = [];
  askField(scene.frame ?? -1);
  saveState();
  show();
};
