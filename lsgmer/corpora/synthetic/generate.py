"""The embedded corpus: synthetic speech by eSpeak NG, so that the whole pipeline runs without other data.

`python -m lsgmer.stages.sample` writes data/raw/sample/{utterances.csv, README.md, audio/*.flac}. It is
an ordinary table, which corpora/table.py reads.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from lsgmer.core.device import cores
from lsgmer.core.errors import LsgmerError
from lsgmer.core.progress import track
from lsgmer.corpora.params import SampleParams
from lsgmer.corpora.synthetic.espeak import SAMPLE_RATE as SPOKEN_RATE
from lsgmer.corpora.synthetic.espeak import speak
from lsgmer.corpora.synthetic.plan import Planned, plan

SAMPLE_RATE = 16_000
FAST = 16  # a factor of every transform's length, since large prime factors make one slow
COLUMNS = ("id", "audio", "text", "emotion", "speaker", "sex", "split", "tags")
README = """# A synthetic corpus

No person speaks here. {count} utterances by {speakers} eSpeak NG voices; what is "angry" or "sad" is a setting
of rate, pitch, pitch range and volume, and a line written for the purpose. A model that does well on it
shows that the pipeline works. It shows nothing about people.

Speakers and lines are both disjoint across train, valid and test. `tags` says what carries the emotion:

| Tag | Voice | Words | Label |
|---|---|---|---|
| congruent | emotion | the same emotion | that emotion |
| voice_only | emotion | neutral | the voice's |
| text_only | neutral | emotion | the words' |
| contradictory | emotion | another emotion | the voice's: it wins, words decide only when the voice is neutral |

Made by `python -m lsgmer.corpora.sample` from `sample` in params.yaml, the same bytes each time.
"""


def generate(params: SampleParams, destination: Path, scratch: Path, processes: int | None = None) -> None:
    """Synthesise the utterances of `params` into `destination`, which is replaced in one move at the end.

    `scratch` is a folder for the unfinished work, best on the same disk. `processes` (None: one per core) changes
    the time taken, never a byte. Raises LsgmerError when eSpeak NG fails or two clips come out identical.
    """
    utterances = plan(params)
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "audio").mkdir(parents=True)
    digests: dict[str, str] = {}
    spoken = _speak_all(utterances, scratch, processes or cores())
    for item, digest in zip(utterances, track(spoken, len(utterances), "sample"), strict=True):
        if digest in digests:
            raise LsgmerError(
                f"sample: clips {digests[digest]} and {item.id} came out the same, so a setting had no effect; "
                f"change sample.seed (the second was {item.speech})"
            )
        digests[digest] = item.id
    (scratch / "utterances.csv").write_text(_table(utterances), encoding="utf-8", newline="")
    speakers = len({item.speaker for item in utterances})
    (scratch / "README.md").write_text(README.format(count=len(utterances), speakers=speakers), encoding="utf-8")
    shutil.rmtree(destination, ignore_errors=True)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(scratch, destination)  # a rename where both are on one disk


def clip(item: Planned) -> np.ndarray[Any, Any]:
    """Return the utterance's samples, int16 (N,) at `SAMPLE_RATE`. Call it from a process without threads."""
    return downsample(speak(item.speech), SPOKEN_RATE, SAMPLE_RATE)


def downsample(samples: np.ndarray[Any, Any], rate: int, lower: int) -> np.ndarray[Any, Any]:
    """Return int16 `samples` (N,) at `lower` Hz, by dropping the Fourier components above lower / 2.

    Speech starts and ends in silence, so the transform's wrap-around does no harm. (Importing torchaudio
    would take longer than synthesising the whole corpus.)
    """
    ratio = Fraction(lower, rate)
    block = ratio.denominator * FAST
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % block))
    count = int(len(padded) * ratio)
    series = np.fft.rfft(padded)[: count // 2 + 1]
    wave = np.fft.irfft(series, count)[: math.ceil(len(samples) * ratio)] * float(ratio)
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


def _speak_all(utterances: Sequence[Planned], folder: Path, processes: int) -> Iterator[str]:
    """Write every clip to `folder` and yield the sha256 of its samples, in order; the workers take turns.

    Plain processes with one pipe each, not a pool: a worker whose parent was killed ends at its next clip.
    """
    context = multiprocessing.get_context("spawn")
    processes = min(processes, len(utterances))
    readers: list[Connection] = []
    with ExitStack() as stack:
        for worker in range(processes):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(utterances[worker::processes], folder, writer), daemon=True)
            process.start()
            writer.close()
            readers.append(stack.enter_context(closing(reader)))
            stack.callback(process.join)
            stack.callback(process.terminate)
        for index in range(len(utterances)):
            yield _receive(readers[index % processes])


def _receive(reader: Connection) -> str:
    try:
        digest, problem = reader.recv()
    except EOFError:
        raise LsgmerError("sample: a synthesis process was killed; run the same command again") from None
    if problem:
        raise LsgmerError(f"sample: {problem}")
    return str(digest)


def _work(utterances: Sequence[Planned], folder: Path, writer: Connection) -> None:
    """Synthesise in a process of its own; send (sha256, None) per clip, or ("", the reason for a failure)."""
    try:
        for item in utterances:
            samples = clip(item)
            soundfile.write(folder / _audio(item), samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            writer.send((hashlib.sha256(samples.tobytes()).hexdigest(), None))
    except (LsgmerError, soundfile.SoundFileError) as error:
        writer.send(("", str(error)))
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # whoever wanted the clips is gone


def _audio(item: Planned) -> str:
    return f"audio/{item.id}.flac"


def _table(utterances: Sequence[Planned]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for u in utterances:
        writer.writerow((u.id, _audio(u), u.text, u.emotion, u.speaker.name, u.speaker.sex, u.split, u.tag))
    return text.getvalue()
