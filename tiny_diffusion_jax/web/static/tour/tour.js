// The tour: eight chapters about two densities that are known exactly, and a released model.

const CHAPTERS = {
  noising: Noising, score: Score, path: Path, steps: Steps, guidance: Guidance,
  superposition: Superposition, completion: Completion, likelihood: Likelihood,
};

function startTour() {
  const { std, shapes } = JSON.parse(document.getElementById("tour-data").textContent);
  const [law, moons] = shapes.map((points) => new Law(unpack(points).values, std));
  const load = () => JSON.parse(document.querySelector("script.model").textContent);
  const data = { law, moons, both: new SetLaw([law, moons]), levels: makeLevels("karras"), load };
  return Object.fromEntries(Object.entries(CHAPTERS).map(([id, Kind]) =>
    [id, new Kind(document.getElementById(id), data)]));
}

startTheme();
const tour = startTour();
