"use strict";

const $ = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)}%`;
const READ = { audio: "the voice", text: "the words" };

let turn = 0; // only the answer to the latest request is shown

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const mine = ++turn;
  clear();
  $("send").disabled = true;
  $("status").textContent = "Estimating…";
  try {
    const answer = await ask(new FormData($("form")));
    if (mine === turn) show(answer);
  } catch (problem) {
    if (mine === turn) fail(problem.message);
  } finally {
    if (mine === turn) {
      $("send").disabled = false;
      $("status").textContent = "";
    }
  }
});

$("form").addEventListener("reset", () => {
  turn++;
  clear();
  $("status").textContent = "";
  $("send").disabled = false;
  play(null);
});

$("audio").addEventListener("change", () => play($("audio").files[0] || null));

for (const name of ["dragenter", "dragover"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files.length === 0) return;
  const one = new DataTransfer();
  one.items.add(event.dataTransfer.files[0]);
  $("audio").files = one.files;
  play(one.files[0]);
});

let key = ""; // the API key of this visit, asked for when the server wants one; never stored

async function ask(form) {
  let response;
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    response = await fetch("predict", { method: "POST", body: form, headers });
  } catch {
    throw new Error("The server did not answer. Is it still running? Try again.");
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error(`The server answered ${response.status} without a reason. Its log may say more.`);
  }
  if (response.status === 401) {
    const given = window.prompt(`${answer.error}\n\nAPI key:`);
    if (given) {
      key = given.trim();
      return ask(form);
    }
  }
  if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
  return answer;
}

function show(answer) {
  $("emotion").textContent = answer.abstained
    ? "Not sure enough to say"
    : `${answer.emotion} (${percent(answer.probabilities[answer.emotion])})`;
  $("modalities").textContent = `Estimated from ${answer.modalities.map((name) => READ[name] || name).join(" and ")}.`;
  $("warnings").textContent = (answer.warnings || []).join(" ");
  const order = Object.keys(answer.probabilities).sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
  bars($("probabilities"), answer.probabilities, order);
  bars($("attribution"), answer.attribution, order);
  $("consistency").textContent = answer.consistency.toFixed(2);
  $("consistency-hint").textContent =
    "From 0 to 1: how well the two views above agree. The lower it is, the less this answer should be trusted.";
  $("version").textContent = answer.model_version;
  $("request").textContent = answer.request_id;
  $("result").hidden = false;
}

function bars(list, shares, order) {
  const most = Math.max(...Object.values(shares));
  list.replaceChildren(...order.map((name) => {
    const value = shares[name];
    const item = document.createElement("li");
    const label = document.createElement("span");
    label.className = "name";
    label.textContent = name;
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = value;
    bar.setAttribute("aria-hidden", "true");
    const number = document.createElement("span");
    number.className = "value";
    number.textContent = percent(value);
    if (value === most) item.className = "top";
    item.append(label, bar, number);
    return item;
  }));
}

function fail(reason) {
  $("error").textContent = reason;
  $("error").hidden = false;
}

function clear() {
  $("error").hidden = true;
  $("error").textContent = "";
  $("result").hidden = true;
}

function play(file) {
  const player = $("player");
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  player.hidden = file === null;
  if (file) player.src = URL.createObjectURL(file);
}
