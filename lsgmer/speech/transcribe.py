"""Words for speech that has none: pieces with a voice in them, what a recogniser hears there, and what is believed.

A machine's words are always marked as such; where it is not sure, there are none, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lsgmer.audio import Waveform, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import TranscriberSpec
from lsgmer.encoders.params import TranscribeParams
from lsgmer.encoders.weights import find_files
from lsgmer.speech.moonshine_decoder import MoonshineDecoder
from lsgmer.speech.rejection import Heard, not_believed
from lsgmer.speech.silero import PACKAGED as VOICE_ACTIVITY
from lsgmer.speech.silero import WEIGHTS_SHA256 as VOICE_ACTIVITY_SHA256
from lsgmer.speech.silero import Silero
from lsgmer.speech.transcript import Transcript
from lsgmer.speech.voice_activity import Span, TurnRules, find_spans

LONGEST_S = 12.0  # of a piece: recognisers lose the thread in longer ones
JOINED_S = 1.0  # stretches of speech with shorter pauses are read together, because words are recognised by context
NO_SPEECH = "no speech was found"

Array = np.ndarray[Any, Any]


class Recogniser(Protocol):
    """Hears words in a piece of speech. The same samples give the same words."""

    @property
    def spec(self) -> TranscriberSpec:
        """What it is."""
        ...

    def hear(self, wave: Waveform) -> Heard:
        """Return the words in `wave`, which has at least one sample, at 16 kHz."""
        ...


class Transcriber:
    """Words of speech: never of silence, noise or music, and not where the recogniser was not sure."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser, self._voices = recogniser, Silero.load()
        found = recogniser.spec
        files = {**found.files, VOICE_ACTIVITY.rpartition("/")[2]: VOICE_ACTIVITY_SHA256}
        self.spec = found.model_copy(update={"files": files})

    def transcribe(self, wave: Waveform) -> Transcript:
        """Return the words in `wave` (any sample rate), or none and the reason. One at a time, on one thread."""
        wave = resample(wave, MoonshineDecoder.sample_rate)
        samples = np.asarray(wave.samples, dtype=np.float32)
        spans = pieces(find_spans([samples], wave.sample_rate, self._voices, TurnRules(longest_s=LONGEST_S)))
        if not spans:
            return Transcript(text="", reason=NO_SPEECH)
        heard = [self._hear(samples, span, wave.sample_rate) for span in spans]
        return put_together(heard, self.spec.min_log_probability)

    def _hear(self, samples: Array, span: Span, rate: int) -> Heard:
        return self._recogniser.hear(Waveform(samples[round(span.start_s * rate) : round(span.end_s * rate)], rate))


def build_transcriber(params: TranscribeParams, root: Path, device: str = "cpu") -> Transcriber:
    """Return the transcriber that `params` ask for; a folder is relative to `root`.

    Raises LsgmerError where a package or a file is missing, or is not the expected one.
    """
    if params.kind == "moonshine":
        return Transcriber(MoonshineDecoder(params.min_log_probability))
    from lsgmer.speech.whisper import Whisper  # transformers' recognisers, which Moonshine does without

    return Transcriber(Whisper(params, find_files(params.source, params.revision, params.sha256, root), device))


def transcriber_called(name: str, root: Path, device: str = "cpu") -> Transcriber:
    """Return the transcriber called `name`: moonshine, or the folder of a Whisper-like model, relative to `root`.

    Raises LsgmerError where it cannot be loaded.
    """
    if name == "moonshine":
        return build_transcriber(TranscribeParams(kind="moonshine"), root, device)
    if not (root / Path(name).expanduser()).is_dir():
        raise LsgmerError(f"transcribe: {name}: neither moonshine nor a folder; name the folder of a Whisper model")
    return build_transcriber(TranscribeParams(kind="whisper", source=name), root, device)


def pieces(spans: Sequence[Span]) -> list[Span]:
    """Return stretches of at most LONGEST_S: neighbours with a pause of at most JOINED_S between them are one.

    >>> [(p.start_s, p.end_s) for p in pieces([Span(0, 2), Span(2.5, 5), Span(5.2, 13), Span(20, 21)])]
    [(0, 5), (5.2, 13), (20, 21)]
    """
    found: list[Span] = []
    for span in spans:
        if found and span.start_s - found[-1].end_s <= JOINED_S and span.end_s - found[-1].start_s <= LONGEST_S:
            found[-1] = replace(found[-1], end_s=span.end_s)
        else:
            found.append(span)
    return found


def put_together(heard: Sequence[Heard], least: float) -> Transcript:
    """Return the words of the pieces that are believed, and why the others are not.

    `least` is the mean log-probability below which a piece is not believed.
    """
    reasons = [not_believed(piece, least) for piece in heard]
    tokens = [score for piece in heard for score in piece.log_probabilities]
    faults = [reason for reason in reasons if reason is not None]
    said = faults[0] if faults else None
    if faults and len(heard) > 1:
        said = f"{len(faults)} of {len(heard)} pieces were left out, the first because {said}"
    return Transcript(
        text=" ".join(piece.text for piece, reason in zip(heard, reasons, strict=True) if reason is None),
        reason=said,
        mean_log_probability=sum(tokens) / len(tokens),
    )
