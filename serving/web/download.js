// The result as a file, made in the page: JSON as the service sent it, CSV with a line for each turn.

import { h } from "./dom.js";

/** Return the buttons that download `result`, named after the recording. */
export function downloads(result, name) {
  const stem = name.replace(/\.[^.]*$/, "") || "call";
  const button = (id, label, suffix, type, make) =>
    h("button", { class: "quiet", id, onclick: () => save(`${stem}.${suffix}`, type, make(result)) }, label);
  return h("div", { class: "actions" },
    button("download-json", "JSON: everything", "json", "application/json", (all) => `${JSON.stringify(all, null, 2)}\n`),
    button("download-csv", "CSV: the turns", "csv", "text/csv", toCSV));
}

function toCSV(result) {
  const labels = [...new Set(result.timeline.flatMap((turn) => Object.keys(turn.probabilities || {})))];
  const columns = ["index", "start_s", "end_s", "speaker", "channel", "emotion", "abstained", "consistency", "text", "automatic", "error"];
  const lines = [
    [...columns, ...labels.map((label) => `p_${label}`), "warnings"],
    ...result.timeline.map((turn) => [
      ...columns.map((column) => turn[column]),
      ...labels.map((label) => turn.probabilities?.[label]),
      (turn.warnings || []).join(" ")]),
  ];
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Quoted where needed; words that a spreadsheet would take for a formula get an apostrophe before them. */
function cell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
