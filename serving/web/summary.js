// The call as a whole: how much of each speaker's speech sounds like what, the worst moments, the turning points.

import { bars } from "./answer.js";
import { clock, count, h, percent } from "./dom.js";

/** Return the elements of the summary. */
export function summaryView(result, actions) {
  const summary = result.summary || {};
  const turnAt = (index) => result.timeline.find((turn) => turn.index === index);
  return [
    h("h3", {}, "Shares of speech"),
    h("div", { class: "columns", id: "shares" }, ...result.speakers.map(speakerView)),
    h("h3", {}, "Most negative moments"),
    negative(summary, turnAt, actions),
    h("h3", {}, "Turning points"),
    turning(summary, turnAt, actions),
  ];
}

function speakerView(speaker) {
  const { shares } = speaker; // null where none of the speaker's turns was estimated
  const order = Object.keys(shares || {}).sort((a, b) => shares[b] - shares[a]);
  return h("div", {},
    h("h4", {}, speaker.name),
    h("p", { class: "hint" }, `${clock(speaker.speech_s, true)} of speech in ${count(speaker.turns, "turn")}`),
    shares ? bars(null, shares, order) : null);
}

function negative(summary, turnAt, actions) {
  const found = summary.most_negative || [];
  const which = (summary.negative_labels || []).join(", ");
  const hint = h("p", { class: "hint" }, which ? `Counted as negative: ${which}.` : "None of the model's labels counts as negative.");
  if (found.length === 0) return h("div", { id: "negative" }, hint, h("p", {}, "There are none."));
  return h("div", { id: "negative" }, hint, h("ol", { class: "moments" }, ...found.map((moment) => h("li", {},
    playButton(moment.start_s, moment.speaker, turnAt(moment.turn), actions),
    `${clock(moment.start_s, true)} ${moment.speaker}: ${moment.emotion || "not sure"}, negative ${percent(moment.negativity)}`,
    quote(turnAt(moment.turn))))));
}

function turning(summary, turnAt, actions) {
  const found = summary.turning_points || [];
  if (found.length === 0) return h("p", { id: "turning" }, "There are none.");
  return h("ol", { class: "moments", id: "turning" }, ...found.map((point) => h("li", {},
    playButton(point.at_s, point.speaker, turnAt(point.turn), actions),
    `${clock(point.at_s, true)} ${point.speaker}: from ${point.before} to ${point.after}`,
    quote(turnAt(point.turn)))));
}

function playButton(seconds, speaker, turn, actions) {
  const label = `Play ${clock(seconds, true)}, ${speaker}`;
  const play = () => {
    if (turn) actions.playTurn(turn);
    else actions.playFrom(seconds);
  };
  return h("button", { class: "quiet small", "aria-label": label, onclick: play }, "Play");
}

const quote = (turn) => (turn?.text ? h("q", {}, turn.text) : null);
