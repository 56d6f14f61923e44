// report.html: its parts, from the data in the page.

const data = JSON.parse(document.getElementById("data").textContent);
startTheme();
const playback = new Playback(8);
const players = [...document.querySelectorAll(".player")].map(
  (root) => new Player(root, data.player, data.field),
);
const controls =
  players.length && new Controls(document.querySelector(".controls"), playback, players);
if (data.field) new Field(document.getElementById("field"), data.field, playback, players[0]);
if (data.loss) {
  const chart = lossCharts(document.getElementById("loss"), data.loss);
  if (controls) controls.onTraining = (step) => chart.mark(step);
}
document
  .getElementById("save-samples")
  ?.addEventListener("click", () => save("samples.csv", csvOf(data.samples)));
startCopying();
startTabs({ live: startLive });
