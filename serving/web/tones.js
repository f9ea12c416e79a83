// Which colour an emotion has on a timeline. The colour repeats what its name says beside it, never more.

const TONES = 8;
const USUAL = {
  anger: 0, angry: 0, disgust: 1, disgusted: 1, fear: 2, fearful: 2, joy: 3, happiness: 3, happy: 3, neutral: 4, calm: 4,
  sadness: 5, sad: 5, surprise: 6, surprised: 6,
};

/** Return a Map from each label to the number of its CSS class `tone-N`, as different as there are colours. */
export function tonesOf(labels) {
  const tones = new Map();
  const used = new Set();
  for (const label of labels) {
    const usual = USUAL[label.toLowerCase()];
    if (usual === undefined || used.has(usual)) continue;
    tones.set(label, usual);
    used.add(usual);
  }
  let next = 0;
  for (const label of labels) {
    if (tones.has(label)) continue;
    while (used.size < TONES && used.has(next % TONES)) next++;
    tones.set(label, next % TONES);
    used.add(next++ % TONES);
  }
  return tones;
}
