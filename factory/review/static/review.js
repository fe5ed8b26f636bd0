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
  // what is pressed for the candidate that has the focus, or the first
  const candidate = event.target.closest(".candidate") ?? document.querySelector(".candidate");
  const own = candidate?.querySelector(`[data-own="${CSS.escape(event.key)}"]:not(:disabled)`);
  if (own) {
    event.preventDefault();
    own.click();
    if (own.matches("summary")) candidate.querySelector("textarea").focus();
    return;
  }
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
});

function step(by) {
  const cards = [...document.querySelectorAll(".card .open, .candidate")];
  if (!cards.length) return;
  const now = cards.indexOf(document.activeElement.closest(".card .open, .candidate"));
  const next = now < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, now + by));
  cards[next].focus();
  cards[next].scrollIntoView({ block: "nearest" });
}

// A verdict is sent once, and the next caption takes the place of this one when it is there: until then keys do nothing.
let waiting = false;
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (waiting) return event.preventDefault();
  if (!form.matches(".verdicts, .undo")) return;
  event.preventDefault();
  send(form, new URLSearchParams(new FormData(form, event.submitter)));
});

async function send(form, fields) {
  waiting = true;
  const main = document.querySelector("main");
  main.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, { method: "POST", body: fields });
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    if (!next) throw new Error(answer.statusText);
    main.replaceChildren(...next.childNodes);
    watchPictures();
  } catch {
    if (!document.querySelector("#away")) {
      const notice = document.createElement("p");
      notice.id = "away";
      notice.className = "notice";
      notice.setAttribute("role", "alert");
      notice.textContent = "The server does not answer, and this verdict is not kept. Start it again, and give it again.";
      main.prepend(notice);
    }
  } finally {
    waiting = false;
    main.removeAttribute("aria-busy");
  }
}

function watchPictures() {
  for (const image of document.querySelectorAll("img")) {
    const gone = () => image.closest("figure, .open")?.classList.add("gone");
    image.addEventListener("error", gone);
    if (image.complete && image.naturalWidth === 0 && image.loading !== "lazy") gone();
  }
}
watchPictures();

for (const box of document.querySelectorAll("details[data-small-closed]"))
  if (matchMedia("(max-width: 760px)").matches) box.open = false;

// A page that goes on by itself: its content is replaced, unless nobody looks or the keyboard is in it.
function lookAgainLater() {
  const again = document.querySelector("[data-again]");
  if (again) setTimeout(lookAgain, 1000 * Number(again.dataset.again));
}

async function lookAgain() {
  const main = document.querySelector("main");
  const focused = document.activeElement;
  if (!document.hidden && (focused === main || !main.contains(focused))) {
    try {
      const answer = await fetch(location.href);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (next?.querySelector("[data-again]")) {
        main.replaceChildren(...next.childNodes);
        watchPictures();
      }
    } catch { /* the server is away just now: what was seen last stays */ }
  }
  lookAgainLater();
}
lookAgainLater();
