// All turns as a table: what the timeline shows, for the keyboard and for screen readers.

import { headline } from "./answer.js";
import { clock, h, percent } from "./dom.js";

const HEADS = ["Hear", "Time", "Speaker", "Emotion", "Probability", "Words"];

/** Return the table. On a phone its rows are laid out as cards, which is why the roles are written out. */
export function turnsTable(result, tones, actions) {
  return h("table", { class: "turn-table", id: "turns", role: "table", "aria-label": "Turns" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      ...HEADS.map((head) => h("th", { scope: "col", role: "columnheader" }, head)))),
    h("tbody", { role: "rowgroup" }, ...result.timeline.map((turn) => row(turn, tones, actions))));
}

function row(turn, tones, actions) {
  const when = clock(turn.start_s, true);
  const name = turn.error ? "none" : turn.abstained || !turn.emotion ? "not sure" : turn.emotion;
  const share = turn.emotion && turn.probabilities ? percent(turn.probabilities[turn.emotion]) : "";
  const about = `turn ${turn.index + 1}, ${turn.speaker}, ${headline(turn)}`;
  const cell = (kind, ...content) => h("td", { role: "cell", class: kind }, ...content);
  return h("tr", { role: "row", "data-row": String(turn.index) },
    cell("hear", h("button", { class: "quiet small", onclick: () => actions.playTurn(turn), "aria-label": `Play ${about}` }, "Play")),
    cell("time", when),
    cell("speaker", turn.speaker),
    cell("emotion",
      h("button", { class: "link", onclick: () => actions.open(turn, true), "aria-label": `Details of ${about}` },
        h("span", { class: `swatch ${turn.emotion ? `tone-${tones.get(turn.emotion)}` : "tone-none"}`, "aria-hidden": "true" }),
        name),
      turn.warnings?.length ? h("span", { class: "warned", title: turn.warnings.join(" ") }, " (warnings)") : null),
    cell("probability", share),
    cell("words",
      turn.text || "",
      turn.text && turn.automatic ? h("span", { class: "hint" }, " (by machine)") : null,
      turn.error ? h("span", { class: "hint" }, `${turn.text ? " " : ""}No estimate: ${turn.error}`) : null));
}

/** Mark the row of the turn that is heard; none for null. */
export function markRow(table, index) {
  for (const old of table.querySelectorAll("[aria-current]")) {
    if (old.dataset.row !== String(index)) old.removeAttribute("aria-current");
  }
  if (index === null || index === undefined) return;
  table.querySelector(`[data-row="${index}"]`)?.setAttribute("aria-current", "true");
}
