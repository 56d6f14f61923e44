// The state of the page in the fragment of its address: opening the address restores the state.
//   #tab=sample&model=mnist&seed=3&steps=20&...&given=x,y,x,y    in the network's units
//   #tab=pair&pair-model=...                                     values of the controls by id

const SAMPLE_CONTROLS = ["points", "sampler", "guidance"]; // their ids are the keys
const PAIR_CONTROLS = [
  "pair-model", "pair-label", "pair-points", "pair-seed", "left-sampler", "left-steps",
  "left-spacing", "left-guidance", "right-sampler", "right-steps", "right-spacing",
  "right-guidance",
];
const PLACES = 4; // decimals of a placed point

// A seed that the field of the page can hold.
const seedOf = (text) => Math.min(999999, Math.max(1, Math.floor(text) || 1));

const readFragment = () => new URLSearchParams(location.hash.slice(1));

// The open tab. #train is short for #tab=train.
const tabOf = (state) => state.get("tab") ?? (location.hash.slice(1) || "sample");

function sampleState() {
  const state = new URLSearchParams({ tab: "sample", model: model.name, seed, steps: numSteps() });
  for (const id of SAMPLE_CONTROLS) state.set(id, $(id).value);
  if (model.labels.length) state.set("label", model.labels[chosenLabel()]?.name ?? "any");
  const layers = ["density", "field"].filter(isOn);
  if (layers.length) state.set("layers", layers.join(","));
  if (scene.given.length) state.set("given", scene.given.map((v) => Number(v.toFixed(PLACES))));
  return state;
}

// Set the controls of the tab "Sample". Values that the page does not have are left out.
function restoreSample(state) {
  const named = [...$("model").options].find(({ dataset }) => dataset.name === state.get("model"));
  if (named) named.selected = true;
  choose($("model").value, false);
  if (state.get("seed") > 0) seed = $("seed").value = seedOf(state.get("seed"));
  const steps = model.steps.indexOf(Number(state.get("steps")));
  if (steps >= 0) $("steps").value = steps;
  for (const id of SAMPLE_CONTROLS) setControl($(id), state.get(id));
  const label = model.labels.findIndex(({ name }) => name === state.get("label"));
  const isAny = state.get("label") === "any" && model.labels.length;
  if (label >= 0 || isAny) $("chips").children[label + 1].firstChild.checked = true;
  const layers = (state.get("layers") ?? "").split(",");
  for (const id of ["density", "field"]) $(id).checked = layers.includes(id);
  const given = (state.get("given") || "").split(",").filter(Boolean).map(Number);
  const arePoints = given.length % 2 === 0 && given.every(Number.isFinite);
  const most = 2 * (Number($("points").value) - 1);
  scene.given = arePoints && model.tool === "complete" ? given.slice(0, most) : [];
  update();
}

// Set a control if the value is one of its own.
function setControl(control, value) {
  if (value === null || value === "") return;
  if (control.options && ![...control.options].some((option) => option.value === value)) return;
  if (["range", "number"].includes(control.type) && !Number.isFinite(Number(value))) return;
  control.value = value;
}

function pairState() {
  const state = new URLSearchParams({ tab: "pair" });
  for (const id of PAIR_CONTROLS) if ($(id).value) state.set(id, $(id).value);
  return state;
}

function restorePair(state) {
  setControl($("pair-model"), state.get("pair-model"));
  pair.choose();
  for (const id of PAIR_CONTROLS.slice(1)) setControl($(id), state.get(id));
}

// Write the state of the open tab; a frame without an address keeps none.
let writing = null;
function saveState() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const tab = openedTab();
    const state = { sample: sampleState, pair: pairState }[tab]?.() ?? new URLSearchParams({ tab });
    if (location.protocol !== "about:") history.replaceState(null, "", `#${state}`);
  }, 150);
}

// Restore the state of the address. A set is drawn when its tab is open for the first time.
let isFirstSet = true;
function restoreState() {
  const state = readFragment(), isPairOpen = Boolean(pair.worker);
  restoreSample(state);
  restorePair(state);
  isFirstSet = true;
  openTab(tabOf(state));
  if (!isPairOpen) return; // the tab draws its first sets
  pair.load();
  pair.draw();
}

function drawFirstSet() {
  if (isFirstSet) draw();
  isFirstSet = false;
}
