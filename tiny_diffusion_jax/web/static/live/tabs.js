// Buttons that show one part of the page at a time.

// parts: {name of a tab: element or null}; opened: {name: function to call when it is shown}.
// The fragment #NAME opens a tab.
function startTabs(parts, opened = {}) {
  const choose = (chosen) => {
    for (const [name, part] of Object.entries(parts)) {
      if (!part) continue;
      part.hidden = name !== chosen;
      document.querySelector(`[data-tab="${name}"]`).setAttribute("aria-pressed", name === chosen);
    }
    opened[chosen]?.();
    dispatchEvent(new Event("resize")); // canvases take their size
  };
  for (const button of document.querySelectorAll("[data-tab]")) {
    button.addEventListener("click", () => choose(button.dataset.tab));
  }
  choose(parts[location.hash.slice(1)] ? location.hash.slice(1) : "sample");
}
