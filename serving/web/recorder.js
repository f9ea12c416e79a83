// The microphone, as a WAV file that never leaves the page until it is sent.

const WORKLET = new URL("recorder-worklet.js", import.meta.url);
const WHY = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it for this page, then try again.",
  NotFoundError: "No microphone was found. Connect one, or choose a file.",
  NotReadableError: "The microphone is in use by another program, or switched off.",
};

/** Why this page cannot record, or null: browsers give the microphone to secure pages only. */
export function whyNot() {
  if (!window.isSecureContext) return "Recording needs HTTPS, or a server on this machine (localhost).";
  if (!navigator.mediaDevices || !window.AudioWorkletNode) return "This browser cannot record.";
  return null;
}

/**
 * Start recording, mono, as the microphone gives it: a model of voices needs no "improved" speech. `onPiece(seconds,
 * peak)` is called some ten times a second. Returns a function that stops and gives the File; throws an Error in words.
 */
export async function record(onPiece) {
  const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
  } catch (problem) {
    throw new Error(WHY[problem.name] || `The microphone cannot be used: ${problem.message}`);
  }
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule(WORKLET);
  } catch (problem) {
    end(stream, context);
    throw new Error(`Recording could not start: ${problem.message}`);
  }
  const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  context.createMediaStreamSource(stream).connect(tap);
  const pieces = [];
  let length = 0;
  let whole;
  tap.port.onmessage = ({ data }) => {
    if (data === null) {
      whole();
      return;
    }
    pieces.push(toPCM(data));
    length += data.length;
    onPiece(length / context.sampleRate, data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
  };
  return async () => {
    await new Promise((resolve) => {
      whole = resolve;
      tap.port.postMessage("end");
    });
    end(stream, context);
    return new File([header(length, context.sampleRate), ...pieces], "recording.wav", { type: "audio/wav" });
  };
}

function end(stream, context) {
  for (const track of stream.getTracks()) track.stop();
  context.close();
}

function toPCM(samples) {
  const bytes = new DataView(new ArrayBuffer(2 * samples.length)); // little-endian whatever the machine
  samples.forEach((sample, i) => bytes.setInt16(2 * i, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true));
  return bytes.buffer;
}

/** The 44 bytes before `length` samples of 16-bit mono PCM. */
function header(length, rate) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (offset, word) => [...word].forEach((c, i) => view.setUint8(offset + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true); // bytes per second
  view.setUint16(32, 2, true); // bytes per frame
  view.setUint16(34, 16, true); // bits
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  return view.buffer;
}
