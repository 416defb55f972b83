"use strict";
// Sorts tables and images, switches outlines on and off, enlarges an image, copies commands. No library, no network.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);
const say = (text) => { one("#status").textContent = text; };

// Tables: a click on a column's head sorts by it; a second click turns the order round. Empty cells stay last.
function sortTable(head) {
  const table = head.closest("table");
  const column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of all("thead th", table)) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => {
    const cell = row.cells[column];
    const text = "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
    return text !== "" && !isNaN(text) ? Number(text) : text;
  };
  const rows = all("tbody tr", table).sort((first, second) => compare(value(first), value(second), up));
  table.tBodies[0].append(...rows);
  say(`sorted by ${head.textContent.trim()}, ${up ? "ascending" : "descending"}`);
}

function compare(a, b, up) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const order = typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true });
  return up ? order : -order;
}

for (const button of all(".sortable thead button")) {
  button.addEventListener("click", () => sortTable(button.closest("th")));
}

// Images, by a score or by name. Which end of a score is bad stands in data-lower.
const gallery = one("#gallery");
const scoresOf = (item) => JSON.parse(item.dataset.scores);
const shown = (value) => (Math.abs(value) < 10 ? value.toFixed(3) : value.toPrecision(4));

function sortGallery() {
  const choice = one("#sort-by").selectedOptions[0];
  const worstFirst = one("#sort-order").value === "worst";
  const up = choice.value === "" ? worstFirst : worstFirst !== (choice.dataset.lower === "1");
  const key = (item) => (choice.value === "" ? item.dataset.name : scoresOf(item)[choice.value] ?? "");
  const items = all("li", gallery).sort((first, second) => compare(key(first), key(second), up));
  gallery.append(...items);
  for (const item of items) {
    const value = scoresOf(item)[choice.value];
    item.querySelector(".value").textContent = value === undefined ? "" : `${choice.text} ${shown(value)}`;
  }
  say(`images sorted by ${choice.text}`);
}

// Outlines and brightness: one switch for the gallery and one in the enlarged view, always in step.
function setLayer(layer, on) {
  document.body.classList.toggle(`without-${layer}`, !on);
  for (const box of all(`[data-layer=${layer}]`)) box.checked = on;
}

function setGamma(value) {
  document.body.classList.toggle("bright", value !== 1);
  for (const part of one("#brighten").querySelectorAll("[exponent]")) part.setAttribute("exponent", 1 / value);
  one("#gamma").setAttribute("aria-valuetext", value === 1 ? "as they are" : `brightened, gamma ${(1 / value).toFixed(2)}`);
}

// The enlarged image: the viewBox is the part that is seen, so outlines stay sharp.
const viewer = one("#viewer");
const stage = one("#stage");
let item, full, view;

function show(next) {
  item = next;
  const picture = item.querySelector("svg").cloneNode(true);
  stage.replaceChildren(picture);
  full = picture.viewBox.baseVal.width && [0, 0, picture.viewBox.baseVal.width, picture.viewBox.baseVal.height];
  one("#viewer-name").textContent = item.dataset.name;
  stage.setAttribute("aria-label", `${item.dataset.name} with outlines of truth and prediction`);
  const scores = scoresOf(item);
  one("#viewer-scores").textContent = all("#sort-by option").filter((option) => option.value in scores)
    .map((option) => `${option.text} ${shown(scores[option.value])}`).join(" · ");
  look(full);
}

function look(next) {
  const smallest = Math.min(16, full[2]);
  const width = Math.min(Math.max(next[2], smallest), full[2]);
  const height = width * full[3] / full[2];
  const x = Math.min(Math.max(next[0], 0), full[2] - width);
  const y = Math.min(Math.max(next[1], 0), full[3] - height);
  view = [x, y, width, height];
  stage.firstElementChild.setAttribute("viewBox", view.join(" "));
  stage.dataset.zoom = (full[2] / width).toFixed(2);
  stage.classList.toggle("near", stage.clientWidth / (width / 2) > 3);
}

// Zoom so that what lies under a point of the screen stays there; default: the middle.
function zoom(factor, point) {
  const at = point ? inView(point) : [view[0] + view[2] / 2, view[1] + view[3] / 2];
  look([at[0] - (at[0] - view[0]) / factor, at[1] - (at[1] - view[1]) / factor, view[2] / factor]);
}

const unit = () => { // screen pixels a unit of the viewBox
  const box = stage.getBoundingClientRect();
  return Math.min(box.width / view[2], box.height / view[3]);
};

function inView(point) {
  const box = stage.getBoundingClientRect();
  const scale = unit();
  return [
    view[0] + view[2] / 2 + (point[0] - box.left - box.width / 2) / scale,
    view[1] + view[3] / 2 + (point[1] - box.top - box.height / 2) / scale,
  ];
}

const move = (dx, dy) => look([view[0] + dx, view[1] + dy, view[2]]);

function step(by) {
  const items = all("li", gallery);
  show(items[(items.indexOf(item) + by + items.length) % items.length]);
}

const actions = {
  previous: () => step(-1), next: () => step(1), in: () => zoom(1.5), out: () => zoom(1 / 1.5),
  fit: () => look(full), close: () => viewer.close(),
  left: () => move(-view[2] / 8, 0), right: () => move(view[2] / 8, 0),
  up: () => move(0, -view[3] / 8), down: () => move(0, view[3] / 8),
  truth: () => setLayer("truth", document.body.classList.contains("without-truth")),
  prediction: () => setLayer("prediction", document.body.classList.contains("without-prediction")),
};
const keys = {
  "+": "in", "=": "in", "-": "out", "0": "fit", n: "next", p: "previous", t: "truth", r: "prediction",
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
};

if (gallery) {
  one("#sort-by").addEventListener("change", sortGallery);
  one("#sort-order").addEventListener("change", sortGallery);
  one("#tools").addEventListener("submit", (event) => event.preventDefault());
  one("#gamma").addEventListener("input", (event) => setGamma(Number(event.target.value)));
  for (const box of all("[data-layer]")) box.addEventListener("change", () => setLayer(box.dataset.layer, box.checked));
  for (const button of all(".open", gallery)) {
    button.addEventListener("click", () => {
      viewer.showModal();
      show(button.closest("li"));
      stage.focus();
    });
  }
  viewer.addEventListener("close", () => item.querySelector("button").focus());
  for (const button of all("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());
  viewer.addEventListener("keydown", (event) => {
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[action]();
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), [event.clientX, event.clientY]);
  }, { passive: false });
  followPointers();
}

// One pointer drags; two pinch.
function followPointers() {
  const pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const before = pointers.size === 2 ? spread() : null;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (before) {
      const now = spread();
      zoom(now.distance / before.distance, now.middle);
    } else if (pointers.size === 1) {
      move((last[0] - event.clientX) / unit(), (last[1] - event.clientY) / unit());
    }
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
}

// Copy buttons. Where the browser refuses the clipboard, the text is selected instead.
for (const button of all("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("copied");
      button.firstChild.textContent = "Copied";
      setTimeout(() => { button.firstChild.textContent = "Copy"; }, 2000);
    } catch {
      getSelection().selectAllChildren(source);
      say("selected: copy it with Ctrl+C");
    }
  });
}

// A sweep's jobs: the row and the line that belong together are marked together.
for (const row of all("tr[data-job]")) {
  const mark = (on) => {
    for (const part of all(`[data-job="${row.dataset.job}"], .job-${row.dataset.job}`)) part.classList.toggle("marked", on);
  };
  for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
    row.addEventListener(event, () => mark(on));
  }
}
