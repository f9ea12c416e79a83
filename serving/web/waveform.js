// The shape of a recording, from the file in this page's memory: decoded at a low rate, drawn only where it is seen.

const RATE = 8000; // Hz; enough to see, a sixth of the memory
const PER_S = 100; // peaks kept for each second
export const MOST_S = 30 * 60; // longer recordings take too much memory to decode whole
const MOST_BYTES = 400 * 2 ** 20;

/** Return the peaks of each channel, Float32Array of PER_S values in [0, 1] a second; null where it cannot be drawn. */
export async function peaksOf(file, durationS) {
  if (durationS > MOST_S || file.size > MOST_BYTES) return null;
  try {
    const context = new OfflineAudioContext(1, 1, RATE);
    const sound = await context.decodeAudioData(await file.arrayBuffer());
    return Array.from({ length: sound.numberOfChannels }, (_, i) => peaks(sound.getChannelData(i)));
  } catch {
    return null; // a format that the service reads and this browser does not
  }
}

function peaks(samples) {
  const step = RATE / PER_S;
  const found = new Float32Array(Math.ceil(samples.length / step));
  for (let i = 0; i < samples.length; i++) {
    const place = Math.floor(i / step);
    const size = Math.abs(samples[i]);
    if (size > found[place]) found[place] = size;
  }
  return found;
}

/** The largest of all channels at each place: what is drawn of a speaker without a channel. */
export function mixed(channels) {
  const found = channels[0].slice();
  for (const channel of channels.slice(1)) channel.forEach((value, i) => { found[i] = Math.max(found[i], value); });
  return found;
}

/** Draw `peaks` from `startS` to `endS` over the whole canvas, in the canvas's text colour, as loud as `most`. */
export function draw(canvas, peaks, startS, endS, most) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.width = Math.round(canvas.clientWidth * scale);
  const height = canvas.height = Math.round(canvas.clientHeight * scale);
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < width; x++) {
    const from = Math.floor((startS + (x / width) * (endS - startS)) * PER_S);
    const to = Math.max(from + 1, Math.floor((startS + ((x + 1) / width) * (endS - startS)) * PER_S));
    let size = 0;
    for (let i = from; i < to && i < peaks.length; i++) size = Math.max(size, peaks[i]);
    const bar = Math.max(scale, (size / (most || 1)) * height);
    context.fillRect(x, (height - bar) / 2, 1, bar);
  }
}
