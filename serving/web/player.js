// Plays moments of the recording: from a place on, or from a turn's start to its end.

import { setSource } from "./dom.js";

/** The audio element `element`, told what to play. `onTime(seconds)` follows what is heard. */
export class Moments {
  constructor(element, file, onTime) {
    this.element = element;
    this.until = Infinity;
    this.onTime = onTime;
    setSource(element, file);
    element.addEventListener("play", () => this.follow());
    element.addEventListener("seeked", () => this.onTime(element.currentTime));
  }

  /** Play from `startS` to `endS`, or on without an end. A browser that cannot rejects, which `onError` hears. */
  play(startS, endS = Infinity) {
    this.until = endS;
    this.element.currentTime = startS;
    this.element.play().catch((problem) => {
      if (problem.name !== "AbortError") this.onError?.(problem);
    });
  }

  follow() {
    const { element } = this;
    if (!element.isConnected) {
      element.pause();
      return;
    }
    if (element.currentTime >= this.until) {
      element.pause();
      this.until = Infinity;
    }
    this.onTime(element.currentTime);
    if (!element.paused && !element.ended) requestAnimationFrame(() => this.follow());
  }
}
