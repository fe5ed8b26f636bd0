(() => {
  if (matchMedia("(max-width: 600px)").matches) {
    for (const part of document.querySelectorAll("details.part")) part.open = false;
  }
})();
(() => {
  const tools = document.getElementById("tools");
  if (!tools) return;
  const [verdict, reason, find] = tools.querySelectorAll("select, input");
  const shown = tools.querySelector("output");
  const words = (element) => element.textContent.toLowerCase();
  const cards = [...document.querySelectorAll(".card")].map((card) => ({
    card,
    about: words(card.querySelector(".about")),
    captions: [...card.querySelectorAll(".caption")].map((caption) => ({ caption, text: words(caption.querySelector(".text")) })),
  }));
  const apply = () => {
    const wanted = find.value.trim().toLowerCase();
    let images = 0;
    for (const { card, about, captions } of cards) {
      let any = !captions.length && !verdict.value && !reason.value && about.includes(wanted);
      for (const { caption, text } of captions) {
        const fits = (!verdict.value || caption.dataset.verdict === verdict.value)
          && (!reason.value || caption.dataset.reason === reason.value)
          && (about.includes(wanted) || text.includes(wanted));
        caption.hidden = !fits;
        any ||= fits;
      }
      card.hidden = !any;
      images += any;
    }
    shown.value = `${images} of ${cards.length} shown`;
  };
  for (const link of document.querySelectorAll("a[data-reason]"))
    link.addEventListener("click", () => { reason.value = link.dataset.reason; verdict.value = ""; find.value = ""; apply(); });
  tools.hidden = false;
  tools.addEventListener("input", apply);
  apply();
})();
