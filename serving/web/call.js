// The view "Call": a whole conversation is sent, waited for, and shown.

import { showCall } from "./call_result.js";
import { $, clock, count, dropZone, putFile } from "./dom.js";
import { remember } from "./history.js";
import { analyse } from "./job.js";
import { goTo } from "./views.js";

const TURNS = /\.(rttm|srt|vtt|json|csv|tsv|txt)$/i;
const STAGES = {
  queued: "Waiting for its turn…",
  reading: "Reading the recording…",
  "finding turns": "Finding who speaks when…",
  transcribing: "Transcribing the words…",
  levels: "Measuring each speaker's usual level…",
  predicting: "Estimating each turn…",
  done: "Done.",
};

let job = null; // the analysis in progress

/** Set the view up. */
export function setUp() {
  $("call-form").addEventListener("submit", submit);
  $("call-form").addEventListener("reset", () => {
    job?.cancel();
    fail(null);
    $("call-result").hidden = true;
    $("call-result").replaceChildren();
  });
  $("call-cancel").addEventListener("click", () => job?.cancel());
  dropZone($("call-drop"), (files) => {
    for (const file of files) putFile($(TURNS.test(file.name) ? "call-turns" : "call-audio"), file);
  });
}

/** Take a recording that was given elsewhere on the page. */
export function openCall(file) {
  putFile($("call-audio"), file);
  goTo("call");
}

async function submit(event) {
  event.preventDefault();
  const file = $("call-audio").files[0];
  fail(file ? null : "No recording was chosen: choose a file or drop one.");
  if (!file) return;
  $("call-result").hidden = true;
  busy(true);
  progress({ stage: "sending" });
  try {
    job = analyse(formOf(file), progress);
    const { job_id: id, result } = await job.done;
    const show = () => {
      goTo("call");
      fail(null);
      showCall($("call-result"), result, file, id);
      $("call-title").focus();
    };
    say(`Done: ${count(result.timeline.length, "turn")} in ${clock(result.duration_s)}.`);
    remember(`${file.name}, ${clock(result.duration_s)}`, count(result.timeline.length, "turn"), show);
    show();
  } catch (problem) {
    if (problem.name === "AbortError") say("Cancelled.");
    else fail(problem.message);
  } finally {
    job = null;
    busy(false);
  }
}

function formOf(file) {
  const form = new FormData();
  form.append("audio", file);
  const turns = $("call-turns").files[0];
  if (turns) form.append("turns", turns);
  const speakers = $("call-speakers").value.replace(/[,\s]+$/, "").split(",").map((name) => name.trim());
  if (speakers[0]) form.append("speakers", JSON.stringify(speakers));
  if ($("call-transcribe").checked) form.append("transcribe", "true");
  return form;
}

/** Show how far a job is. Only a new stage is said aloud: a screen reader need not hear every percent. */
function progress({ status, stage, progress: share, turns, turns_done: done }) {
  const bar = $("call-progress");
  const text = stage === "sending" ? "Sending the recording…" : STAGES[status === "queued" ? status : stage] || `${stage}…`;
  if (typeof share === "number" && share > 0) bar.value = share;
  else bar.removeAttribute("value");
  $("call-done").textContent = turns ? `${done} of ${count(turns, "turn")}` : "";
  say(text);
}

function busy(now) {
  $("call-send").disabled = now;
  $("call-busy").hidden = !now;
  if (now) $("call-cancel").focus();
  else if (document.activeElement === document.body) $("call-send").focus();
}

function say(text) {
  if ($("call-status").textContent !== text) $("call-status").textContent = text;
}

function fail(reason) {
  $("call-error").textContent = reason || "";
  $("call-error").hidden = !reason;
  if (reason) say("");
}
