"use strict";

const $ = (id) => document.getElementById(id);
const whole = Number(document.body.dataset.duration);
const player = $("player"), lanes = $("lanes"), head = $("playhead");
const rows = [...document.querySelectorAll("#turns tbody tr")];
const button = (row) => row.querySelector(".play");
let startedAt = 0, stopAt = null, wanted = null, now = null;

const say = (text) => { $("says").textContent = text; };

// Sound: inside the page, or a file of the reader's.
$("file")?.addEventListener("change", () => {
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  const file = $("file").files[0];
  if (!file) return;
  say("");
  player.src = URL.createObjectURL(file);
});
player.addEventListener("loadedmetadata", () => {
  const apart = Math.abs(player.duration - whole);
  if (Number.isFinite(apart) && apart > Math.max(1, whole / 1000)) {
    say(`This recording lasts ${Math.round(player.duration)} s, the analysed one ${Math.round(whole)} s: is it the same?`);
  }
  if (wanted) play(...wanted);
});
player.addEventListener("error", () => say("This browser cannot play that file; WAV, MP3 and FLAC are played by most."));

function play(start, end) {
  if (!player.src) {
    wanted = [start, end];
    say("Choose the recording first; then this turn is played.");
    $("file").focus();
    return;
  }
  wanted = null;
  startedAt = player.currentTime = start;
  stopAt = end;
  player.play().catch(() => say("The browser did not play the sound; use the player's own button."));
}

player.addEventListener("timeupdate", () => {
  if (stopAt !== null && player.currentTime >= stopAt) {
    player.pause();
    stopAt = null;
  }
  mark(player.currentTime);
});
player.addEventListener("seeking", () => { // by the reader: then what follows is not stopped
  if (Math.abs(player.currentTime - startedAt) > 0.5) stopAt = null;
});

function mark(seconds) {
  const place = `${(100 * Math.min(1, seconds / whole)).toFixed(3)}%`;
  head.setAttribute("x1", place);
  head.setAttribute("x2", place);
  head.classList.remove("off");
  const at = rows.findLast((row) => {
    const { start, end } = button(row).dataset;
    return Number(start) <= seconds && seconds < Number(end);
  }) || null;
  if (at === now) return;
  for (const [row, on] of [[now, false], [at, true]]) {
    if (!row) continue;
    row.classList.toggle("now", on);
    lanes.querySelector(`[data-turn="${row.id.slice(5)}"]`)?.classList.toggle("now", on);
  }
  now = at;
  if (at && !player.paused) follow(seconds / whole);
}

function follow(share) { // keep what is heard in sight of a zoomed timeline
  const scroll = $("scroll"), x = share * scroll.scrollWidth;
  if (x < scroll.scrollLeft || x > scroll.scrollLeft + 0.9 * scroll.clientWidth) {
    scroll.scrollLeft = x - 0.1 * scroll.clientWidth;
  }
}

document.addEventListener("click", (event) => {
  const pressed = event.target.closest("button.play");
  if (pressed) play(Number(pressed.dataset.start), Number(pressed.dataset.end));
  const turn = event.target.closest("[data-turn]");
  if (turn) {
    const row = $(`turn-${turn.dataset.turn}`);
    if (row.hidden) show("", "");
    row.scrollIntoView({ block: "center" });
    button(row).focus({ preventScroll: true });
    play(Number(button(row).dataset.start), Number(button(row).dataset.end));
  }
});

// The keyboard: up and down in the table, Escape stops.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") player.pause();
  const row = event.target.closest?.("#turns tbody tr");
  if (!row || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
  const shown = rows.filter((one) => !one.hidden);
  const next = shown[shown.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1)];
  if (next) button(next).focus();
  event.preventDefault();
});

// Which turns are shown.
const choices = [...document.querySelectorAll("select[data-by]")];
const filter = () => {
  for (const row of rows) row.hidden = choices.some(({ value, dataset }) => value && row.dataset[dataset.by] !== value);
  const left = rows.filter((row) => !row.hidden).length;
  $("count").textContent = left === rows.length ? `${left} turns` : `${left} of ${rows.length} turns`;
};
function show(speaker, emotion) {
  for (const choice of choices) choice.value = { speaker, emotion }[choice.dataset.by];
  filter();
}
for (const choice of choices) choice.addEventListener("change", filter);

// Zoom: the picture gets wider, and its axis finer.
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const two = (number) => String(number).padStart(2, "0");
const clock = (s) => `${s >= 3600 ? `${Math.floor(s / 3600)}:` : ""}${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;

function axis(zoom) {
  const made = (name, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };
  const step = STEPS.find((one) => whole / one <= 10 * zoom) || STEPS.at(-1), ticks = [];
  for (let at = 0; at < whole * (1 - 0.05 / zoom); at += step) {
    const x = `${(100 * at / whole).toFixed(3)}%`;
    ticks.push(made("line", { x1: x, x2: x, y1: 0, y2: lanes.getAttribute("height") }));
    ticks.push(made("text", { x, y: 15, dx: 4 }, clock(at)));
  }
  $("axis").replaceChildren(...ticks);
}

for (const zoom of document.querySelectorAll("[data-zoom]")) {
  zoom.addEventListener("click", () => {
    const scroll = $("scroll"), wide = scroll.scrollWidth;
    const middle = player.currentTime ? player.currentTime / whole : (scroll.scrollLeft + scroll.clientWidth / 2) / wide;
    lanes.setAttribute("width", `${100 * zoom.dataset.zoom}%`);
    axis(Number(zoom.dataset.zoom));
    scroll.scrollLeft = middle * scroll.scrollWidth - scroll.clientWidth / 2;
    for (const other of document.querySelectorAll("[data-zoom]")) other.setAttribute("aria-pressed", String(other === zoom));
  });
}
