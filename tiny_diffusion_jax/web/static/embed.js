// A page in a frame of this page, so that their scripts and styles do not mix.

const ONE_COLUMN = 640; // px: as in live/live.css

// The frame starts when its tab is first opened.
function startLive() {
  if (document.querySelector(".live-frame")) return;
  const frame = document.createElement("iframe");
  frame.title = "The model, sampled live";
  frame.className = "live-frame";
  frame.srcdoc = JSON.parse(document.getElementById("live-page").textContent);
  frame.addEventListener("load", () => blendIn(frame));
  document.getElementById("live-frame").replaceChildren(frame);
}

// The frame has the theme of this page. With one column, the frame is as high as its content,
// because a finger on the plane draws and cannot scroll. With two columns, the height of the frame
// determines the height of the plane.
function blendIn(frame) {
  const { contentDocument: inner, contentWindow: view } = frame;
  inner.querySelector("[data-theme-button]").hidden = true;
  const follow = () => view.setTheme(document.documentElement.dataset.theme);
  document.addEventListener("theme", follow);
  follow();
  const fit = () => {
    const narrow = frame.clientWidth <= ONE_COLUMN;
    frame.style.height = narrow ? `${Math.ceil(inner.body.offsetHeight) + 2}px` : "";
  };
  new view.ResizeObserver(fit).observe(inner.body);
  // A tab that was opened by a key keeps the focus, so that the arrow keys reach the other tabs.
  if (!document.activeElement.matches("[role=tab]:focus-visible")) frame.focus();
}
