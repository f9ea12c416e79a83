// One answer of the model as a reader needs it: the emotion, what it rests on, and how far to trust it.

import { send } from "./ask.js";
import { clock, h, percent } from "./dom.js";

const READ = { audio: "the voice", text: "the words" };
const CONSISTENCY = "From 0 to 1: how well probabilities and attribution agree. The lower it is, the less this answer "
  + "should be trusted.";

/** What the emotion is called: "anger (82.0%)", or why there is none. */
export function headline(answer) {
  if (answer.error) return "No estimate";
  if (answer.abstained || !answer.emotion) return "Not sure enough to say";
  return `${answer.emotion} (${percent(answer.probabilities[answer.emotion])})`;
}

/**
 * Return the elements that show `answer`: of POST /predict, or a turn of a call. Ids begin with `prefix`, so that
 * two answers can be on the page. An answer with a request_id can be given another label, where it can be logged.
 */
export function answerView(answer, prefix = "", heading = "h2") {
  const id = (name) => prefix + name;
  const smaller = heading === "h2" ? "h3" : "h4";
  const title = h(heading, { id: id("emotion") }, headline(answer));
  if (!answer.probabilities) return [title, h("p", {}, answer.error || "The turn was not estimated.")];
  const order = Object.keys(answer.probabilities).sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
  const read = (answer.modalities || []).map((name) => READ[name] || name).join(" and ");
  return [
    title,
    h("p", { id: id("modalities") }, `Estimated from ${read}.`),
    transcript(answer, id("transcript")),
    warnings(answer.warnings, id("warnings")),
    h("div", { class: "columns", "aria-live": "off" },
      shares(id("probabilities"), smaller, "Probabilities", "What the classifier says.", answer.probabilities, order),
      answer.attribution && shares(id("attribution"), smaller, "Attribution",
        "How close the fused signal is to each label.", answer.attribution, order, "second")),
    ...contribution(answer, id("contribution"), smaller),
    ...(typeof answer.consistency === "number" ? [
      h(smaller, {}, "Consistency: ", h("output", { id: id("consistency") }, answer.consistency.toFixed(2))),
      h("p", { class: "hint" }, CONSISTENCY)] : []),
    facts(answer, id),
    answer.request_id ? feedback(answer, id, order) : null,
  ].filter((part) => part !== null);
}

/** A list of warnings, null for none. */
export function warnings(list, id) {
  if (!list || list.length === 0) return null;
  return h("ul", { id, class: "warnings" }, ...list.map((line) => h("li", {}, h("b", {}, "Warning: "), line)));
}

/** Shares as bars, in the given order; the largest is bold. */
export function bars(id, values, order, extra = "") {
  const most = Math.max(...Object.values(values));
  return h("ul", { class: `bars ${extra}`, id },
    ...order.map((name) => h("li", { class: values[name] === most ? "top" : null },
      h("span", { class: "name" }, name),
      h("progress", { max: "1", value: String(values[name]), "aria-hidden": "true" }),
      h("span", { class: "value" }, percent(values[name])))));
}

function shares(id, heading, title, hint, values, order, extra) {
  return h("div", {}, h(heading, {}, title), h("p", { class: "hint" }, hint), bars(id, values, order, extra));
}

function transcript(answer, id) {
  if (!answer.transcript) return null;
  const { text, reason } = answer.transcript;
  return h("p", { id },
    h("b", {}, "Transcribed by machine: "), text ? h("q", {}, text) : "no words", reason ? ` (${reason})` : "");
}

function contribution(answer, id, heading) {
  const parts = Object.entries(answer.contribution || {});
  if (parts.length === 0 || !answer.emotion) return [];
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)} points`;
  const what = parts.length > 1
    ? `How much more probable ${answer.emotion} is with each than without it.`
    : `How much more probable ${answer.emotion} is than by chance.`;
  return [
    h(heading, {}, "Contribution"),
    h("p", { class: "hint" }, what),
    h("ul", { id, class: "plain" }, ...parts.map(([name, value]) => h("li", {}, `${READ[name] || name}: ${signed(value)}`))),
  ];
}

function facts(answer, id) {
  const rows = [
    ["Duration", answer.duration_s, (value) => clock(value, true)],
    ["Earlier utterances read", answer.context_used, String],
    ["Audio level removed", answer.normalised_by, (who) => who === "speaker"
      ? `the speaker's own${answer.enrolled ? `, from ${answer.enrolled} utterances` : ""}` : "that of the training data"],
    ["Model", answer.model_version, (value) => h("span", { id: id("version") }, value)],
    ["Request", answer.request_id, (value) => h("span", { id: id("request") }, value)],
  ].filter(([, value]) => value !== null && value !== undefined);
  return h("dl", {}, ...rows.flatMap(([name, value, write]) => [h("dt", {}, name), h("dd", {}, write(value))]));
}

function feedback(answer, id, order) {
  const said = h("p", { id: id("feedback-said"), role: "status", class: "hint" });
  const choice = h("select", { id: id("feedback-label") }, ...[...order].sort().map((name) => h("option", {}, name)));
  choice.value = answer.emotion || order[0];
  const button = h("button", { class: "quiet", id: id("feedback-send") }, "Record this label");
  const form = h("form", { class: "feedback" },
    h("label", { for: choice.id }, "Which label is right?"), choice, button, said);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    said.textContent = "";
    try {
      const done = await send("feedback", { request_id: answer.request_id, label: choice.value });
      said.textContent = `Recorded: ${done.label}. Thank you.`;
    } catch (problem) {
      said.textContent = `Not recorded: ${problem.message}`;
    } finally {
      button.disabled = false;
    }
  });
  return form;
}
