// Tabs [role=tab] that show one panel at a time, the element of aria-controls.

const openedTab = () => document.querySelector('[role=tab][aria-selected="true"]').dataset.tab;

// Return a function that opens a tab by its name, data-tab; an unknown name opens the first tab.
// opened: {name: function to call when the tab is opened}.
function startTabs(opened = {}) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));
  const open = (name) => {
    const chosen = tabs.find(({ dataset }) => dataset.tab === name) ?? tabs[0];
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1; // arrow keys reach the other tabs
      panelOf(tab).hidden = tab !== chosen;
    }
    opened[chosen.dataset.tab]?.();
    document.dispatchEvent(new Event("tab"));
    dispatchEvent(new Event("resize")); // what was hidden has no size yet
  };
  tabs.forEach((tab, i) => {
    panelOf(tab).setAttribute("role", "tabpanel");
    panelOf(tab).setAttribute("aria-labelledby", tab.id);
    tab.tabIndex = tab.getAttribute("aria-selected") === "true" ? 0 : -1;
    tab.addEventListener("click", () => open(tab.dataset.tab));
    tab.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return; // keys of the browser
      const last = tabs.length - 1;
      const index = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: last }[event.key];
      if (index === undefined) return;
      event.preventDefault();
      const next = tabs[(index + tabs.length) % tabs.length];
      next.focus();
      open(next.dataset.tab);
    });
  });
  return open;
}
