// Before the first paint: the theme that was chosen last time, if any.
try {
  const chosen = localStorage.getItem("semascope-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage may be closed to us: the system's theme then
}
