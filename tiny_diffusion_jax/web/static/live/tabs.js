// Buttons that show one part of the page at a time.

// Return a function that opens a tab by its name. parts: {name of a tab: element or null};
// opened: {name: function to call when it is shown}.
function startTabs(parts, opened = {}) {
  const choose = (name) => {
    const chosen = Object.hasOwn(parts, name) && parts[name] ? name : "sample";
    for (const [each, part] of Object.entries(parts)) {
      if (!part) continue;
      part.hidden = each !== chosen;
      document.querySelector(`[data-tab="${each}"]`).setAttribute("aria-pressed", each === chosen);
    }
    opened[chosen]?.();
    document.dispatchEvent(new Event("tab"));
    dispatchEvent(new Event("resize")); // canvases take their size
  };
  for (const button of document.querySelectorAll("[data-tab]")) {
    button.addEventListener("click", () => choose(button.dataset.tab));
  }
  return choose;
}
