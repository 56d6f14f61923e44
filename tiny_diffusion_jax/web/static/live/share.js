// Buttons for lectures: copy the picture, save its film, fill the screen.

const GIF = { side: 400, frames: 60, hundredths: 6, last: 150 }; // pixels of a plane, and times

// parts: {name of a tab: {canvases() -> visible planes, length() -> frames of its film,
// show(i) -> Promise after which frame i is drawn}}.
function startSharing(parts) {
  const current = () => parts[openedTab()];
  $("copy-png").onclick = async () => report($("copy-png"), await copyPicture(current()));
  $("save-gif").onclick = () => saveFilm(parts, openedTab());
  $("wall").onclick = toggleWall;
  document.addEventListener("fullscreenchange", () => setWall(Boolean(document.fullscreenElement)));
  const update = () => ($("save-gif").disabled = !current().length());
  for (const type of ["film", "tab"]) document.addEventListener(type, update);
  update();
}

// One canvas with all planes of a part beside each other, on the colour of the panel.
function joinPlanes({ canvases }, side) {
  const planes = canvases(), picture = document.createElement("canvas");
  Object.assign(picture, { width: side * planes.length, height: side });
  const pen = picture.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--panel");
  pen.fillRect(0, 0, picture.width, picture.height);
  planes.forEach((plane, i) => pen.drawImage(plane, i * side, 0, side, side));
  return picture;
}

// Copy to the clipboard, or save a file if the browser does not allow it.
async function copyPicture(part) {
  const picture = joinPlanes(part, part.canvases()[0].width);
  const blob = await new Promise((resolve) => picture.toBlob(resolve, "image/png"));
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    return "Copied";
  } catch {
    save("points.png", blob, "image/png");
    return "Saved points.png";
  }
}

async function saveFilm(parts, tab) {
  const part = parts[tab], button = $("save-gif"), length = part.length();
  const count = Math.min(length, GIF.frames);
  const frame = (i) => Math.round((i * (length - 1)) / Math.max(count - 1, 1));
  const pixels = () => {
    const picture = joinPlanes(part, GIF.side);
    const { data } = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
    return { data, width: picture.width };
  };
  // Another set is drawn, or another tab is open.
  const isOver = () => part.length() !== length || openedTab() !== tab;
  button.disabled = true;
  try {
    await part.show(frame(count - 1));
    if (isOver()) return;
    const { data, width } = pixels(), gif = new GifWriter(width, GIF.side, data);
    for (let i = 0; i < count; i++) {
      button.textContent = `GIF: ${Math.round((100 * i) / count)} %`;
      await new Promise((resume) => setTimeout(resume));
      if (isOver()) return;
      await part.show(frame(i));
      if (isOver()) return;
      gif.add(pixels().data, i === count - 1 ? GIF.last : GIF.hundredths);
    }
    save("points.gif", gif.finish(), "image/gif");
  } finally {
    button.textContent = "Save GIF";
    button.disabled = !parts[openedTab()].length();
  }
}

// Show for a moment what a button has done.
function report(button, text) {
  const label = "Copy PNG";
  button.textContent = text;
  setTimeout(() => (button.textContent = label), 1500);
}

// A page that fills the wall of a lecture hall: the whole screen, large type.
function toggleWall() {
  const isOn = !document.documentElement.classList.contains("wall");
  setWall(isOn);
  if (isOn) document.documentElement.requestFullscreen?.().catch(() => {}); // large type alone
  else if (document.fullscreenElement) document.exitFullscreen();
}

function setWall(isOn) {
  document.documentElement.classList.toggle("wall", isOn);
  $("wall").setAttribute("aria-pressed", isOn);
  dispatchEvent(new Event("resize"));
}
