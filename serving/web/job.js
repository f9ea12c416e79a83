// One analysis of a call: sent, asked after every second, cancelled; the service forgets it once it is here.

import { ask } from "./ask.js";

const EVERY_S = 1;
const MOST_FAILURES = 5; // in a row, before asking is given up

/** Work in progress: `done` is a promise of the job, with its `result`; `cancel` ends it, here and at the service. */
export function analyse(form, onProgress) {
  const controller = new AbortController();
  const { signal } = controller;
  let place = null; // analyze/ID once the service has taken the call
  const forget = () => {
    if (place) ask(place, { method: "DELETE", quiet: true, keepalive: true }).catch(() => {});
    place = null;
  };
  const run = async () => {
    window.addEventListener("pagehide", forget); // nobody else knows the ID
    try {
      const job = await ask("analyze", { method: "POST", body: form, signal });
      place = `analyze/${encodeURIComponent(job.job_id)}`;
      signal.throwIfAborted();
      return await poll(place, signal, onProgress);
    } finally {
      window.removeEventListener("pagehide", forget);
      forget();
    }
  };
  return { done: run(), cancel: () => controller.abort() };
}

async function poll(place, signal, onProgress) {
  let failures = 0;
  for (;;) {
    let wait = EVERY_S;
    try {
      const job = await ask(place, { signal });
      failures = 0;
      if (job.status === "done") return job;
      if (job.status === "failed") throw new Error(job.error || "The analysis failed; the server's log may say why.");
      if (job.status === "cancelled") throw new Error("The analysis was cancelled at the server.");
      onProgress(job);
    } catch (problem) {
      const passing = problem.status === 0 || problem.status === 429 || problem.status >= 500;
      if (!passing || ++failures > MOST_FAILURES) throw problem;
      wait = Math.max(EVERY_S, problem.retryS);
    }
    await pause(wait, signal);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, 1000 * seconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
