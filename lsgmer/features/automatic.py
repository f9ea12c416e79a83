"""Words that a machine writes for utterances that have audio and none, marked as such; true words stay as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lsgmer.audio import Waveform, decode
from lsgmer.core.lines import whole_lines
from lsgmer.core.progress import track
from lsgmer.core.records import TranscriberSpec, digest
from lsgmer.features.dialogues import has_text
from lsgmer.features.store import Automatic
from lsgmer.manifests.utterance import Utterance
from lsgmer.speech.transcribe import Transcriber
from lsgmer.speech.transcript import Transcript

WHAT = "features-transcripts"


@dataclass(frozen=True, slots=True)
class AutomaticWords:
    """Utterances with the words that were found for them, and the ids of those whose words are automatic.

    `refused` are the ids of those for which no words are believed, by the reason.
    """

    utterances: tuple[Utterance, ...]
    ids: frozenset[str]
    refused: dict[str, str]
    transcriber: TranscriberSpec | None = None

    @classmethod
    def none(cls, utterances: Sequence[Utterance]) -> AutomaticWords:
        """Return `utterances` as they are."""
        return cls(tuple(utterances), frozenset(), {})

    @property
    def key(self) -> str | None:
        """What the features depend on besides the manifest; None where nothing was transcribed."""
        return None if self.transcriber is None else self.transcriber.fingerprint

    def marks(self, names: Sequence[str]) -> Automatic | None:
        """Return which of the utterances called `names` have automatic words; None where nothing was transcribed."""
        if self.transcriber is None:
            return None
        refused = sum(name in self.refused for name in names)
        return Automatic(self.transcriber, tuple(name in self.ids for name in names), refused)


def transcribe_missing(
    utterances: Sequence[Utterance], transcriber: Transcriber, corpus: Path, folder: Path
) -> AutomaticWords:
    """Return `utterances` with words for those that have audio and none.

    Equal audio is transcribed once. What is done is kept in `folder`, a line each, so that a run that was killed
    resumes there; audio paths are relative to `corpus`. Raises AudioError for unreadable audio.
    """
    wanted = [u for u in utterances if u.audio and not has_text(u)]
    folder.mkdir(parents=True, exist_ok=True)
    notes = _Notes(folder / f"{digest([transcriber.spec.fingerprint, [u.id for u in wanted]])[:16]}.jsonl")
    missing = [u for u in wanted if u.id not in notes.found]
    if done := len(wanted) - len(missing):
        print(f"{WHAT}: resuming: {done} of {len(wanted)} already done", flush=True)
    for u in track(missing, len(wanted), WHAT, start=done):
        wave = decode(corpus / str(u.audio), u.start_s, u.end_s, u.channel)
        sound = _sound(wave)
        notes.add(u.id, sound, notes.heard.get(sound) or transcriber.transcribe(wave))
    heard = {u.id: notes.found[u.id] for u in wanted}
    refused = {name: str(words.reason) for name, words in heard.items() if not words.text}
    print(f"{WHAT}: {len(wanted) - len(refused)} of {len(wanted)} utterances without words now have automatic ones")
    filled = tuple(
        replace(u, text=heard[u.id].text) if u.id in heard and u.id not in refused else u for u in utterances
    )
    return AutomaticWords(filled, frozenset(heard) - frozenset(refused), refused, transcriber.spec)


class _Notes:
    """The transcripts that are done, by utterance (`found`) and by the sound's hash (`heard`), in a file of lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, Transcript] = {}
        self.heard: dict[str, Transcript] = {}
        for name, sound, words in self._lines():
            self.found[name] = self.heard[sound] = words

    def add(self, name: str, sound: str, words: Transcript) -> None:
        """Keep what was found for the utterance called `name`."""
        self.found[name] = self.heard[sound] = words
        line = json.dumps({"id": name, "sound": sound, "words": words.model_dump(mode="json")})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _lines(self) -> Iterator[tuple[str, str, Transcript]]:
        for line in whole_lines(self._path):
            with suppress(ValueError, KeyError, TypeError):
                one = json.loads(line)
                yield one["id"], one["sound"], Transcript.model_validate(one["words"])


def _sound(wave: Waveform) -> str:
    samples = np.ascontiguousarray(wave.samples, dtype="<f4")
    return hashlib.sha256(f"{wave.sample_rate}:".encode() + samples.tobytes()).hexdigest()
