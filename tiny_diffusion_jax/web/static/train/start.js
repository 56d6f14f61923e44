// Start the panel "Train" of a page: `drawing` is the drawing of draw.html; other pages have tabs.

function startTraining(drawing) {
  const root = document.getElementById("train-panel");
  if (!root) return undefined;
  const { options, shapes } = JSON.parse(document.getElementById("train-data").textContent);
  const drawn = drawing && (() => drawing.drawn().map(({ points }) => points.flat()));
  const loaded = shapes.map(({ name, points }) => ({ name, points: unpack(points).values }));
  const panel = new TrainingPanel(root, { options, shapes: loaded, drawn });
  const released = [...document.querySelectorAll("script.model")]
    .find(({ textContent }) => textContent.includes('"name": "dino+moons"'));
  const load = () => JSON.parse(released.textContent);
  if (released) panel.argument = new Argument(panel, load, ["dino", "moons"]);
  let before = "";
  document.addEventListener("drawing", () => {
    const now = JSON.stringify(drawn().map((points) => [points.length, points.at(-1)]));
    if (now !== before) panel.reset(); // not after a change of names or of the theme
    before = now;
  });
  return panel;
}
