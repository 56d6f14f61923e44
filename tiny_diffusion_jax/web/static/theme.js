// Light and dark: what the system prefers, until the button says otherwise.

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.querySelector("[data-theme-button]").setAttribute("aria-pressed", theme === "dark");
  document.dispatchEvent(new Event("theme"));
}

function startTheme() {
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => setTheme(preferred.matches ? "dark" : "light");
  preferred.addEventListener("change", follow);
  document.querySelector("[data-theme-button]").addEventListener("click", () => {
    preferred.removeEventListener("change", follow);
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  });
  follow();
}
