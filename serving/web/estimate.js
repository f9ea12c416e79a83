// The view "Utterance": a recording, words, or both, and the answer to them.

import { answerView, headline } from "./answer.js";
import { ask } from "./ask.js";
import { $, clock, dropZone, putFile, setSource } from "./dom.js";
import { remember } from "./history.js";
import { record, whyNot } from "./recorder.js";
import { goTo } from "./views.js";

const MOST_S = 60; // as the service's max_audio_s; a longer recording is better analysed as a call

let turn = 0; // only the answer to the latest request is shown
let stop = null; // while recording: what ends it

/** Set the view up; `openCall` shows a file in the view for calls. */
export function setUp(openCall) {
  $("form").addEventListener("submit", submit);
  $("form").addEventListener("reset", reset);
  $("audio").addEventListener("change", () => take($("audio").files[0] || null));
  $("player").addEventListener("loadedmetadata", () => {
    const long = $("player").duration > MOST_S;
    $("long").hidden = !long;
    if (long) $("long-says").textContent = `This recording lasts ${clock($("player").duration)}, too long for one answer.`;
  });
  $("long-open").addEventListener("click", () => openCall($("audio").files[0]));
  dropZone($("drop"), (files) => putFile($("audio"), files[0]));
  const why = whyNot();
  $("record").disabled = why !== null;
  $("record-hint").textContent = why || "";
  $("record").addEventListener("click", () => (stop ? stop() : start()));
}

async function submit(event) {
  event.preventDefault();
  const mine = ++turn;
  clear();
  $("send").disabled = true;
  $("status").textContent = "Estimating…";
  const file = $("audio").files[0] || null;
  const words = $("text").value;
  try {
    const answer = await ask("predict", { method: "POST", body: new FormData($("form")) });
    if (mine !== turn) return;
    show(answer);
    remember(titleOf(file, words, answer), headline(answer), () => again(answer, file, words));
  } catch (problem) {
    if (mine === turn) fail(problem.message);
  } finally {
    if (mine === turn) {
      $("send").disabled = false;
      $("status").textContent = "";
    }
  }
}

function titleOf(file, words, answer) {
  const said = words.trim() || answer.transcript?.text || "";
  const short = said.length > 60 ? `${said.slice(0, 60)}…` : said;
  return [file?.name, short && `“${short}”`].filter(Boolean).join(", ");
}

/** Show an earlier answer again, with what was given for it. */
function again(answer, file, words) {
  turn++;
  goTo("estimate");
  clear();
  $("status").textContent = "";
  $("send").disabled = false;
  $("text").value = words;
  if (file) putFile($("audio"), file);
  else {
    $("audio").value = "";
    take(null);
  }
  show(answer);
  $("emotion").tabIndex = -1;
  $("emotion").focus();
}

function reset() {
  turn++;
  if (stop) stop(false);
  clear();
  $("status").textContent = "";
  $("send").disabled = false;
  take(null);
}

function take(file) {
  $("long").hidden = true;
  setSource($("player"), file);
}

function show(answer) {
  $("result").replaceChildren(...answerView(answer));
  $("result").hidden = false;
}

function fail(reason) {
  $("error").textContent = reason;
  $("error").hidden = false;
}

function clear() {
  $("error").hidden = true;
  $("error").textContent = "";
  $("result").hidden = true;
  $("result").replaceChildren();
}

async function start() {
  clear();
  $("record").disabled = true;
  try {
    const finish = await record((seconds, peak) => {
      $("record-time").textContent = clock(seconds, true);
      $("record-level").value = peak;
      if (seconds >= MOST_S - 0.5 && stop) stop();
    });
    stop = async (keep = true) => {
      stop = null;
      const file = await finish();
      recording(false);
      $("record-status").textContent = keep ? "Recorded." : "";
      if (keep) putFile($("audio"), file);
    };
    recording(true);
    $("record-status").textContent = "Recording.";
  } catch (problem) {
    fail(problem.message);
  } finally {
    $("record").disabled = false;
  }
}

function recording(now) {
  $("record").textContent = now ? "Stop" : "Record";
  $("record").classList.toggle("recording", now);
  $("record-live").hidden = !now;
  $("record-time").textContent = clock(0, true);
}
