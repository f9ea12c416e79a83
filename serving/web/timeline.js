// A lane for each speaker: the waveform, and over it the turns. For eyes and pointers: the table has the same turns.

import { headline } from "./answer.js";
import { clock, h } from "./dom.js";
import { draw, mixed } from "./waveform.js";

const MOST_PX_PER_S = 120;
const NAME_PX = 44; // from this width on a turn is labelled with its emotion's name, below it with its first letters
const LETTER_PX = 10;
const TICKS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const TICK_PX = 70;
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

export class Timeline {
  /** `actions.playFrom(seconds)` and `actions.open(turn)` are what a click does. */
  constructor(result, tones, actions) {
    this.result = result;
    this.duration = Math.max(result.duration_s, 0.001);
    this.zoom = 1;
    this.gone = new AbortController();
    this.boxes = new Map();
    this.lanes = result.speakers.map((speaker) => this.lane(speaker, tones));
    this.head = h("div", { class: "playhead", hidden: true });
    this.ruler = h("div", { class: "ruler" });
    this.track = h("div", { class: "track" }, this.ruler, ...this.lanes.map((lane) => lane.element), this.head);
    const label = `Timeline of ${result.speakers.length} speakers. The table below has the same turns, with buttons.`;
    this.scroll = h("div", { class: "scroll timeline", id: "timeline", tabindex: "0", role: "img", "aria-label": label }, this.track);
    this.note = h("p", { class: "hint", id: "timeline-note" });
    this.out = h("button", { type: "button", class: "quiet small", "aria-label": "Zoom out", onclick: () => this.zoomBy(0.5) }, "−");
    this.into = h("button", { type: "button", class: "quiet small", "aria-label": "Zoom in", onclick: () => this.zoomBy(2) }, "+");
    this.element = h("div", {},
      h("div", { class: "timeline-head" },
        h("h3", {}, "Timeline"), h("p", { class: "hint" }, "Click to hear a moment."), this.out, this.into),
      this.scroll, legend(tones), this.note);
    this.scroll.addEventListener("scroll", () => this.redraw());
    this.track.addEventListener("click", (event) => this.clicked(event, actions));
    new ResizeObserver(() => this.fit()).observe(this.scroll);
    DARK.addEventListener("change", () => this.redraw(), { signal: this.gone.signal });
  }

  lane(speaker, tones) {
    const turns = this.result.timeline.filter((turn) => turn.speaker === speaker.name);
    for (const turn of turns) {
      const tone = turn.emotion ? `tone-${tones.get(turn.emotion)}` : "tone-none";
      const title = `${clock(turn.start_s, true)} ${turn.speaker}: ${headline(turn)}`;
      this.boxes.set(turn.index, h("div", { class: `turn ${tone}`, "data-turn": String(turn.index), title }, h("span")));
    }
    const canvas = h("canvas");
    const inner = h("div", { class: "turns" }, canvas, ...turns.map((turn) => this.boxes.get(turn.index)));
    const element = h("div", { class: "lane" }, h("div", { class: "lane-name" }, speaker.name), inner);
    return { speaker, turns, canvas, element };
  }

  /** Lay everything out for the width there is. */
  fit() {
    const width = this.scroll.clientWidth;
    if (!width) return;
    const most = Math.max(1, (MOST_PX_PER_S * this.duration) / width);
    this.zoom = Math.min(this.zoom, most);
    this.perS = (width * this.zoom) / this.duration;
    this.track.style.width = `${width * this.zoom}px`;
    this.out.disabled = this.zoom <= 1;
    this.into.disabled = this.zoom >= most;
    for (const turn of this.result.timeline) {
      const box = this.boxes.get(turn.index);
      if (!box) continue;
      const size = Math.max(2, (turn.end_s - turn.start_s) * this.perS);
      const name = turn.emotion || "?";
      box.style.left = `${turn.start_s * this.perS}px`;
      box.style.width = `${size}px`;
      box.firstChild.textContent = size >= Math.max(NAME_PX, 8 * name.length) ? name : name.slice(0, Math.floor(size / LETTER_PX));
    }
    this.ticks();
    this.redraw();
  }

  ticks() {
    const step = TICKS_S.find((seconds) => seconds * this.perS >= TICK_PX) || TICKS_S[TICKS_S.length - 1];
    const marks = [];
    for (let i = 0; i * step * this.perS < this.track.clientWidth - 30; i++) {
      const mark = h("span", {}, clock(i * step, step < 1));
      mark.style.left = `${i * step * this.perS}px`;
      marks.push(mark);
    }
    this.ruler.replaceChildren(...marks);
  }

  zoomBy(factor) {
    const middle = (this.scroll.scrollLeft + this.scroll.clientWidth / 2) / (this.perS || 1);
    this.zoom = Math.max(1, this.zoom * factor);
    this.fit();
    this.scroll.scrollLeft = middle * this.perS - this.scroll.clientWidth / 2;
  }

  /** Draw the waveform behind the turns: a speaker's own channel, else all of them. */
  draw(channels) {
    const all = mixed(channels);
    for (const lane of this.lanes) lane.peaks = channels[lane.speaker.channel ?? -1] || all;
    this.loudest = all.reduce((most, value) => Math.max(most, value), 0.01);
    this.redraw();
  }

  redraw() {
    if (!this.scroll.isConnected) {
      this.gone.abort();
      return;
    }
    const start = this.scroll.scrollLeft / (this.perS || 1);
    const end = start + this.scroll.clientWidth / (this.perS || 1);
    for (const { canvas, peaks } of this.lanes) {
      canvas.style.width = `${this.scroll.clientWidth}px`;
      if (peaks && this.perS) draw(canvas, peaks, start, end, this.loudest);
    }
  }

  clicked(event, actions) {
    const seconds = (event.clientX - this.track.getBoundingClientRect().left) / this.perS;
    const box = event.target.closest("[data-turn]");
    if (box) actions.open(this.result.timeline.find((turn) => String(turn.index) === box.dataset.turn));
    actions.playFrom(Math.max(0, Math.min(seconds, this.duration)));
  }

  /** Move the playhead, and keep it in sight. */
  at(seconds) {
    const x = seconds * this.perS;
    this.head.hidden = false;
    this.head.style.left = `${x}px`;
    const { scrollLeft, clientWidth } = this.scroll;
    if (x < scrollLeft || x > scrollLeft + clientWidth) this.scroll.scrollLeft = x - clientWidth / 4;
  }

  /** Mark a turn as the selected one. */
  select(turn) {
    for (const [index, box] of this.boxes) box.classList.toggle("selected", index === turn.index);
  }

  say(text) {
    this.note.textContent = text;
  }
}

function legend(tones) {
  return h("ul", { class: "legend", "aria-label": "Colours of the emotions" },
    ...[...tones].map(([name, tone]) => h("li", {}, h("span", { class: `swatch tone-${tone}`, "aria-hidden": "true" }), name)));
}
