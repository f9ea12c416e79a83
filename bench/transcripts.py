"""What automatic words cost: UA and WER on the sample, and what is heard where nobody speaks English.

python -m bench.transcripts [--polish ../shared/data/nemo] [--every N], in a project with a champion and the sample.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.audio import Waveform, decode
from lsgmer.core.paths import Workspace
from lsgmer.core.progress import track
from lsgmer.core.text import markdown_table
from lsgmer.encoders.params import TranscribeParams
from lsgmer.encoders.weights import package_file
from lsgmer.features.perturbations import AUDIO, pink_noise
from lsgmer.inference.prediction import AutomaticTranscript
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.metrics import balanced_accuracy, interval_text, paired_bootstrap
from lsgmer.registry import champions
from lsgmer.registry.bento import Bundle
from lsgmer.speech.transcribe import Transcriber, build_transcriber
from lsgmer.speech.transcript import Transcript

Array = np.ndarray[Any, Any]
CONDITIONS = ("clean", "telephone", "noise_10_db")
RESAMPLES, SEED = 2000, 7
RATE = 16_000
CLIPS = 20  # of each kind of sound that is no speech
# The opening of A Tale of Two Cities (Dickens, 1859), which a recording in the package with the model reads.
DICKENS = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season
of Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing before
us, we were all going direct to Heaven, we were all going direct the other way in short, the period was so far like the
present period, that some of its noisiest authorities insisted on its being received, for good or for evil, in the
superlative degree of comparison only."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Recordings of one condition: the waves, the true words, and what was heard."""

    waves: list[Waveform]
    truth: list[str]
    found: list[Transcript]
    cpu_s: float

    @property
    def spoken_s(self) -> float:
        """Seconds of audio."""
        return sum(wave.duration_s for wave in self.waves)


def words(text: str) -> list[str]:
    """Return the words in small letters, without punctuation. Figures are not spelled out: they count as errors."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("\u2019", "'")).split()


def edits(truth: Sequence[str], guess: Sequence[str]) -> int:
    """Return the least number of words to insert, delete or replace."""
    row = list(range(len(guess) + 1))
    for i, one in enumerate(truth, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(guess, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Return errors over true words, of (true, found) texts."""
    counted = [(edits(words(truth), words(found)), len(words(truth))) for truth, found in pairs]
    return sum(wrong for wrong, _ in counted) / max(1, sum(count for _, count in counted))


def changed(wave: Waveform, condition: str, row: int) -> Waveform:
    """Return the recording as it is in `condition`, by a chance that the row decides."""
    return wave if condition == "clean" else AUDIO[condition](wave, np.random.default_rng([SEED, row]))


def hear(transcriber: Transcriber, waves: list[Waveform], truth: list[str], what: str) -> Heard:
    """Transcribe all, and measure how long the processor worked."""
    began = time.process_time()
    found = [transcriber.transcribe(wave) for wave in track(waves, len(waves), what)]
    return Heard(waves, truth, found, time.process_time() - began)


def word_errors(name: str, heard: Heard) -> tuple[str, ...]:
    """Return a row: condition, clips, share empty, WER of all (empty is all wrong), WER of what is believed, cost."""
    pairs = [(truth, found.text) for truth, found in zip(heard.truth, heard.found, strict=True)]
    kept = [pair for pair in pairs if pair[1]]
    return (
        name,
        str(len(pairs)),
        f"{1 - len(kept) / len(pairs):.3f}",
        f"{word_error_rate(pairs):.3f}",
        f"{word_error_rate(kept):.3f}",
        f"{heard.cpu_s / heard.spoken_s:.3f}",
    )


def emotion_costs(
    predictor: Predictor, name: str, heard: Heard, labels: Array, indices: Callable[[str], int]
) -> Iterator[tuple[str, ...]]:
    """Yield rows: what is read, UA with true words, with automatic ones, and the difference, paired."""
    automatic = [AutomaticTranscript(text=found.text, reason=found.reason) for found in heard.found]
    believed = np.array([bool(found.text) for found in heard.found])
    true_words = [Input(audio=wave, text=text) for wave, text in zip(heard.waves, heard.truth, strict=True)]
    machine = [Input(audio=wave, transcript=said) for wave, said in zip(heard.waves, automatic, strict=True)]

    def guess(items: list[Input]) -> Array:
        return np.array([indices(str(answer.emotion)) for answer in predictor.predict(items)])

    with_true, with_automatic = guess(true_words), guess(machine)
    alone = guess([replace(item, text=None) for item in true_words])
    rows = {
        "audio and words": (with_true, with_automatic, np.ones(len(labels), bool)),
        "audio and words, where some are believed": (with_true, with_automatic, believed),
        "audio alone instead of with true words": (with_true, alone, np.ones(len(labels), bool)),
    }
    for what, (before, after, chosen) in rows.items():
        truth = labels[chosen]
        change = paired_bootstrap(truth, after[chosen], before[chosen], RESAMPLES, SEED)
        scores = [f"{balanced_accuracy(truth, found[chosen]):.3f}" for found in (before, after)]
        yield (name, what, str(int(chosen.sum())), *scores, interval_text(change, "+"))


def no_speech() -> Iterator[tuple[str, list[Waveform]]]:
    """Yield sounds in which nobody speaks, CLIPS of each kind, 2 to 10 s long."""
    makers: dict[str, Callable[[np.random.Generator, Array], Array]] = {
        "digital silence": lambda rng, t: np.zeros_like(t),
        "room noise at -60 dBFS": lambda rng, t: 1e-3 * rng.standard_normal(len(t)),
        "white noise": lambda rng, t: 10 ** rng.uniform(-2, -0.5) * rng.standard_normal(len(t)),
        "pink noise": lambda rng, t: pink_noise(-60)(Waveform(1e-4 * rng.standard_normal(len(t)), RATE), rng).samples,
        "tone": lambda rng, t: 0.3 * np.sin(2 * np.pi * rng.uniform(80, 3000) * t),
        "dial tone and clicks": lambda rng, t: (
            0.2 * (np.sin(2 * np.pi * 350 * t) + np.sin(2 * np.pi * 440 * t)) * (t % 1 < 0.5)
            + (rng.random(len(t)) < 1e-4)
        ),
        "music, synthetic": music,
    }
    for name, make in makers.items():
        made = []
        for i in range(CLIPS):
            rng = np.random.default_rng([SEED, i])
            times = np.arange(int(rng.uniform(2, 10) * RATE)) / RATE
            made.append(Waveform(np.clip(make(rng, times), -1, 1).astype(np.float32), RATE))
        yield name, made


def music(rng: np.random.Generator, times: Array) -> Array:
    """Return a melody of plucked harmonics over chords and a drum: no voice, but with voice-like harmonics."""
    length, sound = len(times), np.zeros(len(times))
    for beat in np.arange(0, times[-1] if length else 0, 0.25):
        root = 110 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
        after = np.maximum(times - beat, 0)
        decay = (times >= beat) * np.exp(-5 * after)
        for harmonic in range(1, 8):
            pitch = root * harmonic * (1 + 0.003 * np.sin(2 * np.pi * 5 * after))
            sound += 0.08 / harmonic * decay * np.sin(2 * np.pi * pitch * after)
        sound += 0.05 * rng.standard_normal(length) * (times >= beat) * np.exp(-60 * after)
    return sound


def empty_share(name: str, heard: Heard) -> tuple[str, ...]:
    """Return a row: sound, clips, share without words; and of those with a voice, why."""
    silent = [found for found in heard.found if not found.text]
    spoken = sum(found.mean_log_probability is not None for found in heard.found)
    return (name, str(len(heard.found)), f"{len(silent) / len(heard.found):.3f}", str(spoken))


def of_sample(workspace: Workspace, every: int) -> tuple[Predictor, list[Utterance], Any]:
    """Return the champion, and the sample's test utterances with audio and words, one in `every`."""
    champion = champions.read(workspace)
    if champion is None:
        raise SystemExit("no champion here: `make run` makes one")
    manifest = ValidatedManifest.load(workspace.data("validate"))
    chosen = [u for u in manifest.utterances if u.split == "test" and u.audio and u.text][::every]
    return Bundle.open(champions.verified_source(workspace, champion)).predictor(), chosen, manifest.labels


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.transcripts", description=__doc__)
    parser.add_argument("--polish", type=Path, default=Path("../shared/data/nemo"))
    parser.add_argument("--corpus", type=Path, default=Path("data/raw/sample"))
    parser.add_argument("--every", type=int, default=1, help="measure one clip in N")
    given = parser.parse_args()
    predictor, chosen, labels = of_sample(Workspace(Path.cwd()), given.every)
    transcriber = build_transcriber(TranscribeParams(kind="moonshine"), Path.cwd())
    true_labels = np.array([labels.index(u.emotion) for u in chosen])
    errors, costs, empty = [], [], []
    reading = decode(package_file("package:moonshine_voice/assets/two_cities.wav"))
    for condition in CONDITIONS:
        waves = [changed(decode(given.corpus / str(u.audio)), condition, i) for i, u in enumerate(chosen)]
        heard = hear(transcriber, waves, [str(u.text) for u in chosen], f"sample {condition}")
        errors.append(word_errors(f"sample (eSpeak), {condition}", heard))
        costs += emotion_costs(predictor, condition, heard, true_labels, labels.index)
        read = hear(transcriber, [changed(reading, condition, 0)], [DICKENS], f"Dickens {condition}")
        errors.append(word_errors(f"read English, 44 s, {condition}", read))
    for name, waves in no_speech():
        empty.append(empty_share(name, hear(transcriber, waves, [], name)))
    files = sorted(given.polish.rglob("*.flac"))[:: given.every]
    for condition in CONDITIONS if files else ():
        waves = [changed(decode(file), condition, i) for i, file in enumerate(files)]
        empty.append(empty_share(f"Polish, {condition}", hear(transcriber, waves, [], f"Polish {condition}")))
    header = ("recordings", "n", "without words", "WER", "WER where believed", "CPU s per s")
    print("\n" + markdown_table(header, errors), end="\n\n")
    header = ("audio", "read", "n", "UA, true words", "UA, automatic or none", "difference, paired")
    print(markdown_table(header, costs), end="\n\n")
    print(markdown_table(("sound", "n", "without words", "taken for speech"), empty))


if __name__ == "__main__":
    main()
