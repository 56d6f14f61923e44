// A whole page inside this one, in a frame, so that neither disturbs the other.

const ONE_COLUMN = 640; // px: as in live/live.css

function startLive() {
  const button = document.getElementById("live-start");
  button?.addEventListener("click", () => {
    const frame = document.createElement("iframe");
    frame.title = "The model, sampled live";
    frame.className = "live-frame";
    frame.srcdoc = JSON.parse(document.getElementById("live-page").textContent);
    frame.addEventListener("load", () => blendIn(frame));
    document.getElementById("live-frame").replaceChildren(frame);
    button.hidden = true;
  });
}

// It follows the theme of this page, and on a phone it is as high as what it holds: a finger on
// its plane draws, and could not scroll. With two columns its own height decides the plane's.
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
  frame.focus();
}
