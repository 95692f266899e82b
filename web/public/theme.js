// Before the first paint: the theme that was chosen last time, or else the system's.
let theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
try {
  const chosen = localStorage.getItem("semascope-theme");
  if (chosen === "light" || chosen === "dark") theme = chosen;
} catch {
  // storage may be closed to us: the system's theme then
}
document.documentElement.dataset.theme = theme;
