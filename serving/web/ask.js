// Requests to the service: with the API key where it wants one, and every failure as words.

let key = ""; // the API key of this visit, asked for when the server wants one; never stored

/** Why a request failed; `status` is the answer's, 0 where there was none. */
export class Failure extends Error {
  constructor(message, status = 0, retryS = 0) {
    super(message);
    this.status = status;
    this.retryS = retryS; // after how many seconds the service says to ask again
  }
}

/**
 * Ask the service and return its JSON, null where it has none. `quiet` never asks for a key.
 * Throws a Failure, and an AbortError where `options.signal` was aborted.
 */
export async function ask(path, { quiet = false, ...options } = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Failure("The server did not answer. Is it still running? Try again.");
  }
  if (response.status === 204) return null;
  let answer;
  try {
    answer = await response.json();
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Failure(
      `The server answered ${response.status} without a reason. Its log may say more.`, response.status);
  }
  if (response.status === 401 && !quiet) {
    const given = window.prompt(`${answer.error}\n\nAPI key:`);
    if (given) {
      key = given.trim();
      return ask(path, options);
    }
  }
  if (!response.ok) {
    const retryS = Number(response.headers.get("retry-after")) || 0;
    throw new Failure(answer.error || `The server answered ${response.status}.`, response.status, retryS);
  }
  return answer;
}

/** POST `content` as JSON. */
export const send = (path, content) =>
  ask(path, { method: "POST", body: JSON.stringify(content), headers: { "Content-Type": "application/json" } });
