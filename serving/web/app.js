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

/** Say which model answers, where that may be known without an API key. */
async function introduce() {
  let lineage;
  try {
    lineage = await ask("lineage", { quiet: true });
  } catch {
    return; // it is known with the first answer
  }
  $("served").textContent = `Model ${lineage.model_version}. `;
  const used = Object.keys(lineage.encoders || {}).filter((name) => lineage.encoders[name]);
  if (used.length === 1 && ONLY[used[0]]) {
    const [place, text] = ONLY[used[0]];
    $(place).textContent = text;
    $(place).hidden = false;
  }
}

setUpEstimate(openCall);
setUpCall();
window.addEventListener("hashchange", route);
route();
introduce();
