// draw.html: pointer, keys and buttons of a drawing.

const KEY = "tiny_diffusion_jax drawing"; // in the storage of the browser
const DAB = 10; // points of a click

// The drawing before the page was loaded again; a browser may refuse to store it.
function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

function store() {
  try {
    localStorage.setItem(KEY, JSON.stringify(drawing.state));
  } catch {
    // The page works without it.
  }
}

const drawing = new Drawing(stored());
const byId = (id) => document.getElementById(id);
const pad = byId("pad");
const brush = { x: 0, y: 0, down: false };
const width = () => Number(byId("width").value);

function place(event) {
  const box = pad.getBoundingClientRect();
  brush.x = (2 * (event.clientX - box.left)) / box.width - 1;
  brush.y = 1 - (2 * (event.clientY - box.top)) / box.height;
}

const begin = () => drawing.begin(brush.x, brush.y, 2 / Number(byId("density").value));

function dab() {
  drawing.spray(brush.x, brush.y, DAB, width() / 2);
  show();
}

pad.addEventListener("pointerdown", (event) => {
  if (event.button) return; // only the left button draws
  pad.setPointerCapture(event.pointerId);
  brush.down = true;
  place(event);
  begin();
});
pad.addEventListener("pointermove", (event) => {
  if (!brush.down) return;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const each of events.length ? events : [event]) {
    place(each);
    drawing.lineTo(brush.x, brush.y, width() / 2);
  }
  show();
});
for (const type of ["pointerup", "pointercancel"]) {
  pad.addEventListener(type, () => {
    if (brush.down && drawing.stroke.first === drawing.shape.points.length) dab(); // a click
    brush.down = false;
    store();
  });
}

pad.addEventListener("keydown", (event) => {
  const direction = DIRECTIONS[event.key];
  if (direction) {
    brush.x = Math.min(1, Math.max(-1, brush.x + 0.04 * direction[0]));
    brush.y = Math.min(1, Math.max(-1, brush.y + 0.04 * direction[1]));
    show();
  } else if (event.key === " ") {
    begin();
    dab();
    store();
  } else return;
  event.preventDefault();
});

function paint() {
  const size = Math.round(pad.clientWidth * Math.min(devicePixelRatio || 1, 2));
  if (pad.width !== size) pad.width = pad.height = size;
  const context = pad.getContext("2d");
  const [toX, toY] = [(x) => ((x + 1) * size) / 2, (y) => ((1 - y) * size) / 2];
  const dot = Math.max(2, size / 260);
  context.clearRect(0, 0, size, size);
  drawing.shapes.forEach(({ points }, k) => {
    context.fillStyle = css(memberColour(k));
    context.globalAlpha = k === drawing.current ? 0.85 : 0.3;
    for (const [x, y] of points) context.fillRect(toX(x) - dot / 2, toY(y) - dot / 2, dot, dot);
  });
  context.globalAlpha = 1;
  if (document.activeElement !== pad) return;
  context.strokeStyle = css(cssColour("--ink"));
  context.beginPath();
  context.arc(toX(brush.x), toY(brush.y), (width() * size) / 2, 0, 2 * Math.PI);
  context.stroke();
}

function shapeButton({ name, points }, k) {
  const [item, button, dot] = ["li", "button", "span"].map((tag) => document.createElement(tag));
  dot.className = "dot";
  dot.style.background = css(memberColour(k));
  button.type = "button";
  button.setAttribute("aria-pressed", k === drawing.current);
  button.append(dot, `${name} (${points.length})`);
  button.addEventListener("click", () => {
    drawing.current = k;
    show();
    byId("shapes").children[k].firstChild.focus(); // `show` has replaced the list
  });
  item.append(button);
  return item;
}

function show() {
  paint();
  byId("shapes").replaceChildren(...drawing.shapes.map(shapeButton));
  if (document.activeElement !== byId("name")) byId("name").value = drawing.shape.name;
  const drawn = drawing.drawn();
  const total = drawn.reduce((sum, { points }) => sum + points.length, 0);
  byId("count").textContent =
    `${total.toLocaleString("en")} points in ${drawn.length} shape${drawn.length === 1 ? "" : "s"}`;
  byId("save").disabled = total === 0;
  byId("undo").disabled = drawing.history.length === 0;
  const command = byId("command");
  command.textContent = drawing.command(command.dataset.program);
  document.dispatchEvent(new Event("drawing"));
}

const act = (id, what) =>
  byId(id).addEventListener("click", () => {
    what();
    show();
    store();
  });
const undoable = (change) => () => {
  drawing.mark();
  change();
};
act("add", undoable(() => drawing.add()));
act("undo", () => drawing.undo());
act("clear", undoable(() => drawing.clear()));
document.addEventListener("keydown", (event) => {
  const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  if (!isUndo || event.target === byId("name")) return;
  event.preventDefault();
  byId("undo").click();
});
byId("name").addEventListener("input", ({ target }) => {
  drawing.rename(target.value);
  show();
  store();
});
byId("name").addEventListener("change", ({ target }) => {
  target.value = drawing.shape.name;
});
byId("save").addEventListener("click", () => save("drawing.csv", drawing.csv()));
for (const type of ["focus", "blur"]) pad.addEventListener(type, paint);
addEventListener("resize", paint);
document.addEventListener("theme", show);
startTheme();
startCopying();
