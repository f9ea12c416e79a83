// The views of the page: the address after # names the one that shows.

import { $ } from "./dom.js";
import { openRecord } from "./records.js";

const VIEWS = ["estimate", "call", "card", "lineage"];

/** Show the view that the address names, the first where it names none. */
export function route() {
  const wanted = window.location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const name of VIEWS) {
    $(`view-${name}`).hidden = name !== view;
    const link = $(`to-${name}`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${$(`to-${view}`).textContent} – lsgmer`;
  if (view === "card" || view === "lineage") openRecord(view);
}

/** Go to a view now, so that what is in it can be focused. */
export function goTo(view) {
  if (window.location.hash.slice(1) !== view) window.location.hash = view;
  route();
}
