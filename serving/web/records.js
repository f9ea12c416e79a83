// The model's card and its lineage, as pages to read; the same as JSON stays one link away.

import { ask } from "./ask.js";
import { $, h, percent, table } from "./dom.js";

const MODELS = { fused: "This model: voice and words together", audio: "Voice alone", text: "Words alone", linear: "Linear control" };
const PASSES = { PASS: "passed", HOLD: "on hold", REJECT: "rejected" };

/** Load a record once and show it; a failure is shown, and the next visit tries again. */
export async function openRecord(name) {
  const container = $(`${name}-body`);
  if (container.dataset.loaded) return;
  container.replaceChildren(h("p", { class: "hint" }, "Loading…"));
  try {
    const content = await ask(name);
    container.replaceChildren(...(name === "card" ? cardView(content) : lineageView(content)).filter(Boolean));
    container.dataset.loaded = "yes";
  } catch (problem) {
    container.replaceChildren(h("p", { role: "alert", class: "error" }, problem.message));
  }
}

function cardView(card) {
  const { metrics, train, gate } = card;
  const served = metrics.models[train.variant] || Object.values(metrics.models)[0];
  return [
    h("p", {}, card.intended_use),
    h("h3", {}, "Limits"),
    list(card.limits),
    card.forced && h("p", { class: "error" }, `Promoted against the gate by ${card.forced.by}: ${card.forced.reason}`),
    h("h3", {}, "What it reads and says"),
    facts([
      ["Reads", reads(train.encoders)],
      ["Labels", metrics.labels.join(", ")],
      ["Measured on", `${served.n} utterances of ${metrics.n_speakers} speakers`],
      ["Utterances", Object.entries(train.split_counts).map(([part, n]) => `${part}: ${n}`).join(", ")],
      ["Speakers seen", String(train.seen_speakers.length)],
      ["Abstains below", train.abstention ? `${percent(train.abstention.threshold)}, if the service is set so` : "never"],
    ]),
    h("h3", {}, "How well"),
    table("Measured on the test split, with 95% intervals",
      ["Model", "Balanced accuracy", "Accuracy", "Macro F1", "Calibration error"],
      Object.entries(metrics.models).map(([name, found]) => [MODELS[name] || name, interval(found.balanced_accuracy),
        interval(found.accuracy), interval(found.macro_f1), number(found.ece)])),
    h("p", { class: "hint" }, `Chance is ${percent(metrics.chance)}.`),
    confusion(metrics.labels, served),
    ...groups(metrics.groups),
    robustness(metrics.robustness),
    metrics.notes.length ? list(metrics.notes) : null,
    h("h3", {}, `Gate: ${PASSES[gate.verdict] || gate.verdict}`),
    table("The rules that decided whether it may be served", ["Rule", "Verdict", "Reason"],
      gate.rules.map((rule) => [rule.name, rule.verdict, rule.reason])),
    details("Everything in the card", card),
  ];
}

function lineageView(lineage) {
  const { model_version: version, source, forced, ...hashes } = lineage;
  return [
    h("p", {}, "Which data, parameters and code made this model. ", h("code", {}, "lsgmer audit"),
      " recomputes these hashes (sha256) from the package back to the raw data."),
    facts([
      ["Model", version],
      ["Commit", source?.commit || "not from a repository"],
      ["Changed since the commit", source?.dirty === null ? "unknown" : source?.dirty ? "yes" : "no"],
      ["Source", code(source?.source_sha256)],
      ["Promotion", forced ? `forced by ${forced.by}: ${forced.reason}` : "passed the gate"],
    ]),
    table("Hashes", ["Of", "sha256"], Object.entries(hashes)
      .filter(([name, value]) => name !== "versions" && value)
      .flatMap(([name, value]) => typeof value === "string" ? [[plain(name), code(value)]]
        : Object.entries(value).map(([part, hash]) => [`${plain(name)}: ${part}`, code(hash)]))),
    table("Versions of the libraries that trained it", ["Library", "Version"], Object.entries(lineage.versions || {})),
    details("Everything in the lineage", lineage),
  ];
}

const plain = (name) => name.replace(/_sha256$/, "").replaceAll("_", " ");
const code = (text) => h("code", {}, text ?? "none");
const number = (value) => (typeof value === "number" ? value.toFixed(3) : "–");
const list = (lines) => h("ul", {}, ...lines.map((line) => h("li", {}, line)));
const facts = (rows) => h("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value ?? "–")]));

export function reads(encoders) {
  const known = { audio: "voices", text: "words" };
  const used = Object.keys(known).filter((name) => encoders?.[name]).map((name) => known[name]);
  return used.length === 1 ? `${used[0]} only` : used.join(" and ");
}

function interval(found) {
  if (!found) return "–";
  const range = found.low === null || found.high === null ? "" : ` (${number(found.low)} to ${number(found.high)})`;
  return number(found.value) + range;
}

function confusion(labels, served) {
  const rows = served.confusion.map((row, i) => [labels[i], ...row.map(String), served.recall[labels[i]] == null ? "–" : percent(served.recall[labels[i]])]);
  return table("Which label was right (rows) and which was given (columns)", ["Right label", ...labels, "Recall"], rows);
}

function groups(found) {
  return Object.entries(found || {}).map(([what, parts]) => table(`By ${what}`,
    ["Group", "Utterances", "Balanced accuracy", "Calibration error"],
    Object.entries(parts).map(([name, metrics]) => [name, String(metrics.n), interval(metrics.balanced_accuracy), number(metrics.ece)])));
}

function robustness(found) {
  if (!found?.length) return null;
  return table("What disturbed recordings and words do to it", ["Disturbance", "Of", "Before", "After", "Change"],
    found.map((row) => [row.perturbation, row.modality, number(row.before), number(row.after), interval(row.change)]));
}

function details(title, content) {
  return h("details", {}, h("summary", {}, title), h("pre", { tabindex: "0", "aria-label": title }, JSON.stringify(content, null, 2)));
}
