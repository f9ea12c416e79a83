// What an analysis of a call found: the timeline, one turn in full, the summary, a table of all turns, downloads.

import { answerView, warnings } from "./answer.js";
import { clock, count, h } from "./dom.js";
import { downloads } from "./download.js";
import { Moments } from "./player.js";
import { summaryView } from "./summary.js";
import { Timeline } from "./timeline.js";
import { tonesOf } from "./tones.js";
import { markRow, turnsTable } from "./turns_table.js";
import { MOST_S, peaksOf } from "./waveform.js";

const FROM = { given: "as given in the file of turns", "voice activity": "as found by voice activity" };

/** Show the `result` of a job in `container`; `file` is the recording it is about, in this page's memory. */
export function showCall(container, result, file, jobId) {
  const tones = tonesOf(labelsOf(result));
  const player = h("audio", { id: "call-player", controls: true, "aria-label": `The recording ${file.name}` });
  const said = h("p", { class: "hint", id: "call-player-says", role: "status" });
  const detail = h("section", { id: "turn", class: "card", hidden: true, "aria-label": "The selected turn" });
  const moments = new Moments(player, file, (seconds) => {
    timeline.at(seconds);
    const heard = result.timeline.find((turn) => turn.start_s <= seconds && seconds < turn.end_s);
    markRow(list, player.paused ? null : heard?.index);
  });
  moments.onError = () => {
    said.textContent = "This browser cannot play the recording. The estimates are not affected.";
  };
  const actions = {
    playTurn: (turn) => moments.play(turn.start_s, turn.end_s),
    playFrom: (seconds) => moments.play(seconds),
    open: (turn, focus = false) => {
      openTurn(detail, { ...turn, model_version: result.model_version, request_id: `${jobId}/${turn.index}` }, actions);
      timeline.select(turn);
      if (focus) detail.focus();
    },
  };
  const timeline = new Timeline(result, tones, actions);
  const list = turnsTable(result, tones, actions);
  const title = h("h2", { id: "call-title", tabindex: "-1" }, file.name);
  container.replaceChildren(...[
    title,
    h("p", { id: "call-facts" }, facts(result)),
    warnings(result.warnings, "call-warnings"),
    player,
    said,
    timeline.element,
    detail,
    ...summaryView(result, actions),
    h("h3", {}, "Turns"),
    list,
    h("h3", {}, "Download"),
    downloads(result, file.name),
  ].filter(Boolean));
  container.hidden = false;
  timeline.fit();
  drawWaveform(timeline, file, result.duration_s);
}

async function drawWaveform(timeline, file, durationS) {
  const channels = await peaksOf(file, durationS);
  if (channels) timeline.draw(channels);
  else timeline.say(durationS > MOST_S
    ? "The recording is too long to draw its waveform here; the turns are complete."
    : "This browser cannot read the recording, so its waveform is not drawn; the turns are complete.");
}

function labelsOf(result) {
  const labels = new Set(result.timeline.flatMap((turn) => Object.keys(turn.probabilities || {})));
  for (const name of Object.keys(result.summary?.shares || {})) labels.add(name);
  return [...labels];
}

function facts(result) {
  const failed = result.timeline.filter((turn) => turn.error).length;
  return `${clock(result.duration_s)}, ${count(result.timeline.length, "turn")} of `
    + `${count(result.speakers.length, "speaker")}, ${FROM[result.turns_from] || result.turns_from}. `
    + (failed ? `${count(failed, "turn")} could not be estimated. ` : "")
    + `Model ${result.model_version}.`;
}

function openTurn(detail, turn, actions) {
  const about = `Turn ${turn.index + 1}: ${turn.speaker}, ${clock(turn.start_s, true)} to ${clock(turn.end_s, true)}`;
  detail.replaceChildren(
    h("h3", {}, about),
    h("div", { class: "actions" },
      h("button", { class: "small", onclick: () => actions.playTurn(turn) }, "Play"),
      h("button", { class: "quiet small", onclick: () => { detail.hidden = true; } }, "Close")),
    ...(turn.text ? [h("p", {}, h("q", {}, turn.text), turn.automatic ? h("span", { class: "hint" }, " (by machine)") : "")] : []),
    ...answerView(turn, "turn-", "h4"));
  detail.tabIndex = -1;
  detail.hidden = false;
}
