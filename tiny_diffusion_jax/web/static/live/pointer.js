// Points by hand: with a mouse, a finger or the keyboard.

const STEP = 0.04; // of the plane's side: what an arrow key moves

// In own units, to a tenth of their spread or finer.
const dataUnits = (point) => point.map((v, d) => {
  const decimals = Math.min(Math.max(1 - Math.floor(Math.log10(model.scale[d])), 2), 20);
  return (v * model.scale[d] + model.shift[d]).toFixed(decimals);
});

// Place a point. A set in view stays, and is completed again: with few steps while the pointer is
// held, and with all steps after it. A set whose first points are not here yet is begun again.
function place(point, isHeld = false) {
  if (scene.given.length / 2 >= $("points").value - 1) return say("The set is full.");
  const at = scene.given.length;
  scene.given.push(...point);
  if (!isInView() && !isBusy()) forget();
  else if (isHeld && isInView()) {
    const all = [...scene.drawn, ...scene.moving];
    Object.assign(scene, { drawn: [...all.slice(0, at), ...point, ...all.slice(at, -2)],
                           moving: [], trail: [], isPreview: true });
    preview();
  } else {
    scene.isPreview = isHeld;
    draw();
  }
  update();
  show();
  say(`${scene.given.length / 2} placed, the last at (${dataUnits(point).join(", ")})`);
}

function undo() {
  scene.given.splice(-2);
  if (isInView() || isBusy()) draw();
  else forget();
  update();
  say(`${scene.given.length / 2} placed`);
}

const isInView = () => scene.drawn.length + scene.moving.length > 0;
const isBusy = () => document.body.dataset.state === "busy";

let byKeyboard = false; // the last key or press was a key
for (const type of ["keydown", "pointerdown"]) {
  document.addEventListener(type, () => (byKeyboard = type === "keydown"), true);
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
      place(point, true);
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
  const isMoved = previewing || scene.isPreview;
  held = null;
  scene.isPreview = false;
  previewing = null;
  if (isMoved) draw();
};

function moveTo(point) {
  scene.cross = point;
  if (model.tool === "trace") return trace();
  if (typeof held === "number" && held < scene.given.length) {
    scene.given.splice(held, 2, ...point);
    if (scene.drawn.length) {
      scene.drawn.splice(held, 2, ...point);
      scene.isPreview = true;
      preview();
    }
  }
  say(`(${dataUnits(point).join(", ")})`);
  show();
}

canvas.onkeydown = (event) => {
  const direction = DIRECTIONS[event.key];
  if (model.tool === "draw") return;
  if (direction) {
    const size = (event.shiftKey ? STEP / 4 : STEP) * 2 * board.half;
    moveTo(scene.cross.map((v, d) => {
      const low = model.data_mean[d] - board.half, high = model.data_mean[d] + board.half;
      return Math.min(Math.max(v + size * direction[d], low), high);
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
