// Keys press what carries them in data-key; everything works without this file, by mouse and by Tab.
"use strict";

const inText = (element) => element.closest("textarea, select, input:not([type=radio])") !== null;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || inText(event.target)) return;
  const target = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key.split(" ").includes(event.key));
  if (target) {
    event.preventDefault();
    if (target.matches("input")) target.focus();
    else target.click();
    return;
  }
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
});

function step(by) {
  const cards = [...document.querySelectorAll(".card .open")];
  if (!cards.length) return;
  const now = cards.indexOf(document.activeElement);
  const next = now < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, now + by));
  cards[next].focus();
  cards[next].scrollIntoView({ block: "nearest" });
}

// A verdict is sent once, however often the key is hit.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

for (const image of document.querySelectorAll("img")) {
  const gone = () => image.closest("figure, .open")?.classList.add("gone");
  image.addEventListener("error", gone);
  if (image.complete && image.naturalWidth === 0 && image.loading !== "lazy") gone();
}

for (const box of document.querySelectorAll("details[data-small-closed]"))
  if (matchMedia("(max-width: 760px)").matches) box.open = false;

const again = document.querySelector("[data-again]");
if (again && document.querySelector("h1").textContent.startsWith("The run is"))
  setTimeout(() => location.reload(), 1000 * Number(again.dataset.again));
