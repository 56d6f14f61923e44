// The page of a run that is training: pictures of its snapshots, and the loss.

const data = JSON.parse(document.getElementById("data").textContent);
const PATIENCE = 5 * 60_000; // ms without a new version of the page

startTheme();
if (data.loss) lossCharts(document.getElementById("loss"), data.loss);
drawPictures();
document.addEventListener("theme", drawPictures);
addEventListener("resize", drawPictures);
setInterval(noticeSilence, 10_000);
noticeSilence();

function drawPictures() {
  for (const canvas of document.querySelectorAll("[data-picture]")) {
    const { picture: name, set } = canvas.dataset;
    const { view, real, taken } = data.snapshots;
    const sets = name === "real" ? real : taken[Number(name)];
    const stage = new Stage(canvas);
    const colour = cssColour(name === "real" ? "--data" : "--samples");
    stage.draw(new StillSets(sets, view), Number(set), 1, {
      paper: cssColour("--panel"),
      ink: cssColour("--ink"),
      alert: cssColour("--alert"),
      colours: Uint8Array.from({ length: 3 * sets.sizes[set] }, (_, i) => colour[i % 3]),
      given: 0,
    });
  }
}

function noticeSilence() {
  const { progress: written } = document.querySelector(".lead").dataset;
  const isLive = document.querySelector("meta[http-equiv=refresh]") !== null;
  document.getElementById("stale").hidden = !isLive || Date.now() - written < PATIENCE;
}
