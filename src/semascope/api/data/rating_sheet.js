"use strict";
// One explanation at a time: a key grades it, progress stays in this browser.
const sheet = document.getElementById("sheet");
const about = JSON.parse(sheet.dataset.about);
const items = [...sheet.querySelectorAll("article")];
const tasks = items.map((item) => item.dataset.task);
const footer = document.querySelector("footer");
const note = document.getElementById("note");
const rater = document.getElementById("rater");
const GRADES = [...document.querySelectorAll(".grade")].map((button) => button.dataset.grade);
const KEY = `semascope-sheet/${about.dictionary}/${about.seed}/${about.size}/${tasks[0] ?? ""}`;
let state = { rater: "", ratings: {} };
let at = -1; // -1: the beginning; items.length: the end
let since = 0;

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
    if (kept && typeof kept.rater === "string" && kept.ratings) state = kept;
  } catch {
    // Without storage the sheet still works, until it is closed.
  }
}

function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    // The same.
  }
}

const rating = (task) => (state.ratings[task] ??= { grade: "", note: "", seconds: 0 });
const graded = () => tasks.filter((task) => state.ratings[task]?.grade).length;

function keepNote() {
  const task = tasks[at];
  if (!task || (state.ratings[task]?.note ?? "") === note.value) return;
  rating(task).note = note.value;
  save();
}

function show(place) {
  keepNote();
  at = Math.max(-1, Math.min(items.length, place));
  items.forEach((item, i) => (item.hidden = i !== at));
  document.getElementById("start").hidden = at !== -1;
  document.getElementById("end").hidden = at !== items.length;
  footer.hidden = at === -1;
  footer.querySelector(".grades").hidden = footer.querySelector(".note").hidden = !items[at];
  note.value = state.ratings[tasks[at]]?.note ?? "";
  since = performance.now();
  window.scrollTo(0, 0);
  draw();
}

function draw() {
  document.getElementById("count").textContent = `${graded()} of ${items.length} rated`;
  [...document.getElementById("dots").children].forEach((dot, i) => {
    const grade = state.ratings[tasks[i]]?.grade ?? "";
    dot.dataset.grade = grade;
    dot.setAttribute("aria-current", String(i === at));
    dot.setAttribute("aria-label", `Explanation ${i + 1}: ${grade || "not rated"}`);
  });
  for (const button of document.querySelectorAll(".grade")) {
    button.setAttribute("aria-pressed", String(state.ratings[tasks[at]]?.grade === button.dataset.grade));
  }
  const tally = document.getElementById("tally");
  tally.replaceChildren(
    ...GRADES.map((grade) => {
      const row = document.createElement("tr");
      const n = tasks.filter((task) => state.ratings[task]?.grade === grade).length;
      for (const text of [grade, n, `${Math.round((100 * n) / Math.max(1, graded()))} %`]) {
        row.appendChild(document.createElement("td")).textContent = text;
      }
      return row;
    }),
  );
}

function give(grade) {
  const task = tasks[at];
  if (!task || !grade) return;
  keepNote();
  const one = rating(task);
  one.grade = grade;
  one.seconds = Math.round((one.seconds + (performance.now() - since) / 1000) * 10) / 10;
  save();
  const open = (i) => !state.ratings[tasks[i]]?.grade;
  const places = [...items.keys()];
  show(places.find((i) => i > at && open(i)) ?? places.find(open) ?? items.length);
}

function download() {
  keepNote();
  const ratings = tasks
    .filter((task) => state.ratings[task]?.grade)
    .map((task) => ({ task, ...state.ratings[task] }));
  const text = JSON.stringify({ kind: "semascope ratings", ...about, rater: state.rater, ratings }, null, 2);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `ratings-${about.seed}-${state.rater.replace(/[^\w-]+/g, "-")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === note && (event.key === "Enter" || event.key === "Escape")) {
    note.blur();
    keepNote();
    return;
  }
  if (event.target.closest?.("input") || at === -1) return;
  if (event.key >= "1" && event.key <= String(GRADES.length)) give(GRADES[Number(event.key) - 1]);
  else if (event.key === "ArrowLeft") show(Math.max(0, at - 1));
  else if (event.key === "ArrowRight") show(at + 1);
  else if (event.key === "n") note.focus();
  else if (event.key === "h") document.body.classList.toggle("plain");
  else if (event.key === "d") download();
  else return;
  event.preventDefault();
}

function begin(event) {
  event.preventDefault();
  if (!rater.value.trim()) return;
  state.rater = rater.value.trim();
  save();
  rater.blur();
  const open = tasks.findIndex((task) => !state.ratings[task]?.grade);
  show(open < 0 ? items.length : open);
}

load();
rater.value = state.rater;
document.getElementById("dots").append(
  ...items.map((_, i) => {
    const dot = document.createElement("button");
    dot.type = "button";
    dot.addEventListener("click", () => state.rater && show(i));
    return dot;
  }),
);
for (const button of document.querySelectorAll(".grade")) {
  button.addEventListener("click", () => {
    button.blur();
    give(button.dataset.grade);
  });
}
document.querySelector("form").addEventListener("submit", begin);
document.getElementById("download").addEventListener("click", download);
document.addEventListener("keydown", pressed);
window.addEventListener("pagehide", keepNote);
show(-1);
if (!rater.value) rater.focus();
