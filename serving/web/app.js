// The page's start: its views are set up, and what the served model is, is said.

import { ask } from "./ask.js";
import { openCall, setUp as setUpCall } from "./call.js";
import { $ } from "./dom.js";
import { setUp as setUpEstimate } from "./estimate.js";
import { route } from "./views.js";

const ONLY = {
  audio: ["text-hint", "This model reads voices only: the words are not used."],
  text: ["model-hint", "This model reads words only: of a recording, it uses the transcribed words."],
};

/** Say which model answers and what it can do, where that may be known without an API key. */
async function introduce() {
  try {
    const lineage = await ask("lineage", { quiet: true });
    $("served").textContent = `Model ${lineage.model_version}. `;
    const used = Object.keys(lineage.encoders || {}).filter((name) => lineage.encoders[name]);
    if (used.length === 1 && ONLY[used[0]]) {
      const [place, text] = ONLY[used[0]];
      $(place).textContent = text;
      $(place).hidden = false;
    }
    const { transcribes } = await ask("analyze", { quiet: true });
    for (const name of transcribes ? [] : ["transcribe", "call-transcribe"]) {
      $(name).disabled = true;
      $(`${name}-hint`).textContent = "This service does not transcribe.";
    }
  } catch {
    // the first answer or refusal says it
  }
}

setUpEstimate(openCall);
setUpCall();
window.addEventListener("hashchange", route);
route();
introduce();
