// What was asked in this visit. It lives in this page's memory: reloading or closing the page forgets it.

import { $, h } from "./dom.js";

const entries = [];

/** Add an entry; `show` shows it again. */
export function remember(title, outcome, show) {
  entries.unshift({ title, outcome, show, when: new Date() });
  draw();
}

function draw() {
  $("history").hidden = entries.length === 0;
  $("history-list").replaceChildren(...entries.map((entry) => {
    const time = entry.when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return h("li", {},
      h("span", { class: "when" }, time),
      h("span", { class: "what" }, h("b", {}, entry.outcome), ` ${entry.title}`),
      h("button", { class: "quiet small", onclick: entry.show, "aria-label": `Show again: ${entry.outcome}, ${entry.title}` },
        "Show"));
  }));
}

$("history-clear").addEventListener("click", () => {
  entries.length = 0;
  draw();
});
