// Building elements, and how times and shares are written. Nothing here takes HTML: text stays text.

export const $ = (id) => document.getElementById(id);

/** Make an element: h("p", { class: "hint", id: "x", onclick: f, "aria-label": "y" }, "text", another, ...). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** 0.1234 as "12.3%". */
export const percent = (value) => `${(100 * value).toFixed(1)}%`;

/** 75.25 seconds as "1:15" or, with `tenths`, "1:15.2"; from an hour on as "1:02:03". */
export function clock(seconds, tenths = false) {
  const whole = tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.floor(seconds + 1e-6);
  const pad = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = pad(Math.floor(whole % 60)) + (tenths ? `.${Math.round(whole * 10) % 10}` : "");
  return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** "1 turn", "2 turns". */
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** Let files be dropped on `zone`: `take` gets a list of them. */
export function dropZone(zone, take) {
  for (const name of ["dragenter", "dragover"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  });
}

/** Put `file` into a file field, as if it had been chosen there. */
export function putFile(field, file) {
  const one = new DataTransfer();
  one.items.add(file);
  field.files = one.files;
  field.dispatchEvent(new Event("change"));
}

/** Let `player` play `file` from this page's memory; null takes it away. */
export function setSource(player, file) {
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  player.load();
  player.hidden = !file;
  if (file) player.src = URL.createObjectURL(file);
}

/** A table in a frame that scrolls sideways where it is too wide; `rows` are lists of text or elements. */
export function table(caption, heads, rows) {
  const row = ([first, ...others]) => h("tr", {}, h("th", { scope: "row" }, first), ...others.map((x) => h("td", {}, x)));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, ...rows.map(row))));
}
