// compare.html: players of several runs under one playback; a set is enlarged in all of them.

const data = JSON.parse(document.getElementById("data").textContent);
startTheme();
const playback = new Playback(8);
const players = [...document.querySelectorAll(".player")].map(
  (root, i) => new Player(root, data.players[i]),
);
for (const player of players) {
  player.onSelect = (k) => {
    for (const other of players) if (other !== player && k < other.reverse.numSets) other.select(k);
  };
}
new Controls(document.querySelector(".controls"), playback, players);
const losses = document.querySelector("#loss .chart");
if (losses) {
  const names = [...document.querySelectorAll(".runs h2")].map((title) => title.textContent);
  const lines = data.losses.map((loss, k) => ({
    name: names[k],
    x: loss?.step ?? [],
    y: loss?.smooth ?? [],
    colour: `var(${memberVariable(k)})`,
  }));
  new Chart(losses, { xName: "step", lines: lines.filter(({ x }) => x.length) });
}
