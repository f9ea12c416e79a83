"""How utterances are read by the encoders: their lengths, what their features depend on, and the encoding itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from lsgmer.audio import Waveform, decode, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import SIDE_BY_SIDE, EncoderSpec, Modality
from lsgmer.encoders.build import (
    AudioEncoder,
    Precomputed,
    TextEncoder,
    build_audio,
    build_precomputed,
    build_text,
)
from lsgmer.encoders.params import FeaturesParams, FinetuneParams
from lsgmer.features.augment import Augmentation
from lsgmer.features.dialogues import has_text, words_before
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest

Array = np.ndarray[Any, Any]
Encoder = AudioEncoder | TextEncoder | Precomputed
Encoders = dict[Modality, Encoder | None]
PRECOMPUTED = "precomputed"
SUMMARY = "-summary"  # after a modality's name: mean and deviation over time of its frames


@dataclass(frozen=True, slots=True)
class ModalityReader:
    """How one modality is read.

    `lengths` are milliseconds of audio, tokens, or frames, None for utterances that lack it; equal `input`s have equal
    features. `load` reads what `encode` needs (files, say) and can run beside it; `encode` gives frames (T, D).
    """

    spec: EncoderSpec
    has: Callable[[Utterance], bool]
    lengths: Callable[[Sequence[Utterance]], list[int | None]]
    input: Callable[[Utterance], Hashable]
    load: Callable[[Sequence[Utterance]], Any]
    encode: Callable[[Any], list[Array]]


@dataclass(frozen=True, slots=True)
class Readings:
    """What the readers of a run are made of. It can be sent to another process, which makes the same readers of it."""

    features: FeaturesParams
    finetune: FinetuneParams
    root: Path
    corpus: Path
    device: str
    manifest: ValidatedManifest

    def augmentation(self) -> Augmentation:
        """Return the perturbed copies of the training split."""
        return Augmentation([u for u in self.manifest.utterances if u.split == "train"], self.features.augment)

    def encoders(self) -> tuple[Encoders, Encoders]:
        """Return each modality's encoder up to where it starts to learn, and whole; None without one."""
        given = (self.root, self.corpus, self.device)
        whole = build(self.features, FinetuneParams(), *given)
        return (whole if self.finetune == FinetuneParams() else build(self.features, self.finetune, *given)), whole

    def readers(
        self, encoders: tuple[Encoders, Encoders] | None = None, augmentation: Augmentation | None = None
    ) -> dict[str, ModalityReader]:
        """Return the reader of each modality, and "MODALITY-summary" where the store holds what lies below it."""
        stored, whole = encoders or self.encoders()
        copies = augmentation or self.augmentation()
        found: dict[str, ModalityReader] = {
            m: self.reader(m, encoder, copies) for m, encoder in stored.items() if encoder is not None
        }
        summaries = {
            f"{m}{SUMMARY}": summary_of(self.reader(m, encoder, copies))
            for m, encoder in whole.items()
            if encoder is not None and getattr(self.finetune, m) != "none"
        }
        return {**found, **summaries}

    def reader(self, modality: Modality, encoder: Encoder, augmentation: Augmentation) -> ModalityReader:
        """Return how `encoder` reads utterances."""
        if isinstance(encoder, Precomputed):
            if augmentation.copies:
                raise LsgmerError(f"features.augment: features.{modality} is precomputed, so nothing can be perturbed")
            return _precomputed(encoder)
        if modality == "audio":
            return _audio(cast(AudioEncoder, encoder), self.manifest, self.corpus, augmentation)
        return _text(cast(TextEncoder, encoder), self.manifest, self.features.text.context, augmentation)


def build(features: FeaturesParams, finetune: FinetuneParams, root: Path, corpus: Path, device: str) -> Encoders:
    """Return each modality's encoder, up to where `finetune` starts to learn; None without one."""
    audio, text = features.audio, features.text
    audio_kind = SIDE_BY_SIDE if isinstance(audio, tuple) else audio.kind
    for modality, kind in (("audio", audio_kind), ("text", text.kind)):
        if kind == PRECOMPUTED and getattr(finetune, modality) != "none":
            raise LsgmerError(
                f"train.finetune.{modality}: the features are precomputed, so no layer of theirs can learn; set it to "
                "none, or give the encoder itself"
            )
    return {
        "audio": build_precomputed("audio", audio, corpus)
        if not isinstance(audio, tuple) and audio.kind == PRECOMPUTED
        else build_audio(audio, root, device, finetune.audio),
        "text": build_precomputed("text", text, corpus)
        if text.kind == PRECOMPUTED
        else build_text(text, root, device, finetune.text),
    }


def summary_of(reader: ModalityReader) -> ModalityReader:
    """Return the reader of (1, 2 D): mean and standard deviation over time of the frames that `reader` reads.

    The linear baseline reads these where the store holds what lies below the layers that learn.
    """

    def encode(loaded: Any) -> list[Array]:
        frames = [np.asarray(values, dtype=np.float64) for values in reader.encode(loaded)]
        return [np.concatenate([f.mean(0), f.std(0)]).astype(np.float32)[None] for f in frames]

    spec = reader.spec.model_copy(update={"dimension": 2 * reader.spec.dimension})
    return ModalityReader(spec, reader.has, reader.lengths, reader.input, reader.load, encode)


def _precomputed(encoder: Precomputed) -> ModalityReader:
    return ModalityReader(
        encoder.spec,
        has=lambda u: encoder.length(u.id) is not None,
        lengths=lambda us: [encoder.length(u.id) for u in us],
        input=lambda u: u.id,
        load=lambda us: [u.id for u in us],
        encode=encoder.look_up,
    )


def _audio(
    encoder: AudioEncoder, manifest: ValidatedManifest, corpus: Path, augmentation: Augmentation
) -> ModalityReader:
    rates = {part.sample_rate for part in encoder.spec.parts}
    rate = rates.pop() if len(rates) == 1 else None

    def length(u: Utterance) -> int | None:
        return round(1000 * manifest.durations[augmentation.origin(u)]) if u.audio else None

    def sound(u: Utterance) -> Waveform:
        wave = augmentation.sound(u, decode(corpus / str(u.audio), u.start_s, u.end_s, u.channel))
        # Here, because this runs beside the encoder, which then has nothing to resample.
        return wave if rate is None or not len(wave.samples) else resample(wave, rate)

    def heard(u: Utterance) -> Hashable:
        name = u.id if augmentation.changes_sound(u) else augmentation.origin(u)
        return manifest.sounds.get(name, name)

    return ModalityReader(
        encoder.spec,
        has=lambda u: bool(u.audio),
        lengths=lambda us: [length(u) for u in us],
        input=heard,
        load=lambda us: [sound(u) for u in us],
        encode=encoder.encode_together,
    )


def _text(
    encoder: TextEncoder, manifest: ValidatedManifest, context: int, augmentation: Augmentation
) -> ModalityReader:
    before = words_before(manifest.utterances, context)

    def read(u: Utterance) -> tuple[str, tuple[Any, ...]]:
        return augmentation.words(u), before.get(augmentation.origin(u), ())

    def lengths(utterances: Sequence[Utterance]) -> list[int | None]:
        rows = [i for i, u in enumerate(utterances) if has_text(u)]
        inputs = [read(utterances[i]) for i in rows]
        counts = encoder.lengths([text for text, _ in inputs], [lines for _, lines in inputs])
        known = dict(zip(rows, counts, strict=True))
        return [known.get(i) for i in range(len(utterances))]

    return ModalityReader(
        encoder.spec,
        has=has_text,
        lengths=lengths,
        input=read,
        load=lambda us: [read(u) for u in us],
        encode=lambda inputs: encoder.encode_together([text for text, _ in inputs], [lines for _, lines in inputs]),
    )
