// Labels of a sheet: kept by the browser where it lets a file do so, and given as CSV for factory calibrate.
"use strict";

const items = [...document.querySelectorAll("article")];
const ORDER = ["right", "wrong", "unsure"];
const KEYS = { 1: "right", r: "right", 2: "wrong", w: "wrong", 3: "unsure", u: "unsure" };
const store = `caption-factory-sheet-${document.body.dataset.sheet}`;
let said = items.map(() => "");
let last = []; // places in the order in which they were labelled, for undo
let now = 0;
let given = false; // whether what is said was downloaded

try {
  const kept = JSON.parse(localStorage.getItem(store) ?? "[]");
  if (kept.length === said.length) said = kept.map((one) => (ORDER.includes(one) ? one : ""));
} catch { /* a browser that keeps nothing for files: the labels live as long as the page */ }

const progress = document.querySelector("progress");
const status = document.querySelector("[role=status]");
const download = document.querySelector("#download");

function keep() {
  try { localStorage.setItem(store, JSON.stringify(said)); } catch { /* as above */ }
}

function show(place) {
  now = Math.max(0, Math.min(items.length - 1, place));
  items.forEach((item, number) => { item.hidden = number !== now; });
  for (const button of items[now].querySelectorAll("[data-verdict]"))
    button.setAttribute("aria-pressed", String(button.dataset.verdict === said[now]));
  const done = said.filter(Boolean).length;
  progress.value = done;
  const counts = ORDER.map((verdict) => `${said.filter((one) => one === verdict).length} ${verdict}`).join(" · ");
  status.textContent = `number ${now + 1} · ${done} of ${items.length} labelled · ${counts}`;
  document.querySelector("#all").hidden = done < items.length;
}

function label(verdict) {
  said[now] = verdict;
  last.push(now);
  given = false;
  keep();
  const next = said.findIndex((one, number) => number > now && !one);
  show(next >= 0 ? next : said.findIndex((one) => !one) >= 0 ? said.findIndex((one) => !one) : now);
}

function undo() {
  const place = last.pop();
  if (place === undefined) return;
  said[place] = "";
  keep();
  show(place);
}

const quoted = (text) => `"${text.replaceAll('"', '""')}"`;

function csv() {
  const bySentence = document.body.dataset.unit === "sentence";
  const head = ["image_key", "view", "candidate", ...(bySentence ? ["start"] : []), "label", "annotator"];
  const name = quoted(document.querySelector("#name").value.trim());
  const rows = items.flatMap((item, number) => {
    const { key, view, candidate, start } = item.dataset;
    if (!said[number]) return [];
    const value = said[number] === "right" ? "1" : said[number] === "wrong" ? "0" : "";
    return [[quoted(key), quoted(view), candidate, ...(bySentence ? [start] : []), value, name].join(",")];
  });
  return [head.join(","), ...rows].join("\n") + "\n";
}

download.addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  URL.revokeObjectURL(link.href);
  given = true;
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-verdict]");
  if (button) label(button.dataset.verdict);
});
document.querySelector("#undo").addEventListener("click", undo);
document.querySelector("#before").addEventListener("click", () => show(now - 1));
document.querySelector("#after").addEventListener("click", () => show(now + 1));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest("input")) return;
  if (KEYS[event.key]) label(KEYS[event.key]);
  else if (event.key === "z" || event.key === "Backspace") undo();
  else if (event.key === "ArrowLeft") show(now - 1);
  else if (event.key === "ArrowRight") show(now + 1);
  else if (event.key === "d") download.click();
  else return;
  event.preventDefault();
});
addEventListener("beforeunload", (event) => { if (said.some(Boolean) && !given) event.preventDefault(); });
show(Math.max(0, said.findIndex((one) => !one)));
