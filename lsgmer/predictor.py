"""Predictions from a checkpoint: of stored features for evaluate, of raw speech and words for serving.

Both go through the same collate and the same model, so offline and served probabilities are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from lsgmer import checkpoint
from lsgmer.batching import FeatureSplit, Item, collate, length_buckets
from lsgmer.errors import LsgmerError
from lsgmer.model import LSGMER
from lsgmer.types import MODALITIES, Batch, Modality, ModalityBatch, ModelOutput, Prediction, TrainCard, Waveform

if TYPE_CHECKING:
    from lsgmer.encoders import AudioEncoder, TextEncoder

Array = np.ndarray[Any, Any]
ENCODERS = "encoders"


@dataclass(frozen=True, slots=True)
class Input:
    """What a person gives: speech (any rate), words, or both. Blank words count as none."""

    audio: Waveform | None = None
    text: str | None = None

    @property
    def words(self) -> str | None:
        """The text, or None where there is nothing to read."""
        return self.text if self.text and self.text.strip() else None


@dataclass(frozen=True, slots=True)
class Outputs:
    """Model outputs for N utterances: probabilities and attribution (N, C), fused (N, D), consistency (N,), float64.

    `readable` (N,) is False where an utterance has nothing this model reads: its rows are uniform, consistency 0.
    """

    probabilities: Array
    attribution: Array
    fused: Array
    consistency: Array
    readable: Array


class Predictor:
    """A model with its encoders, ready to answer. `load` makes one from a folder alone."""

    def __init__(
        self, model: LSGMER, card: TrainCard, encoders: dict[Modality, AudioEncoder | TextEncoder], version: str
    ) -> None:
        self.model, self.card, self.encoders, self.version = model, card, encoders, version

    @classmethod
    def load(cls, folder: Path, version: str, device: str = "auto", root: Path | None = None) -> Predictor:
        """Load the checkpoint in `folder` and the encoders its card names.

        Packed encoders lie in `folder`/encoders/MODALITY; a folder encoder that is not packed is looked for
        under `root` (default: the current folder). `version` is what answers call the model. Raises LsgmerError
        when anything is absent or not what the card says.
        """
        from lsgmer.encoders import load_encoder  # transformers, which stored features do without

        model, card = checkpoint.load(folder)
        place = choose_device(device)
        encoders = {
            name: load_encoder(spec, folder / ENCODERS / name, root, str(place))
            for name, spec in card.encoders.items()
            if spec is not None
        }
        return cls(model.to(place), card, encoders, version)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What this model reads."""
        return tuple(name for name in MODALITIES if name in self.encoders)

    def used(self, item: Input) -> tuple[Modality, ...]:
        """Return the modalities of `item` that count. Raises LsgmerError for none, or for audio that is no sound."""
        if item.audio is not None:
            _check_audio(item.audio)
        given = {"audio": item.audio is not None, "text": item.words is not None}
        used = tuple(name for name in self.modalities if given[name])
        if not used:
            has = " and ".join(name for name, there in given.items() if there) or "nothing"
            raise LsgmerError(f"got {has}; this model reads {' or '.join(self.modalities)}: give at least one of them")
        return used

    def predict(self, items: Sequence[Input], batch_size: int = 16) -> list[Prediction]:
        """Return one prediction per item, in order. Raises LsgmerError for an item that `used` refuses."""
        used = [self.used(item) for item in items]
        predictions = []
        for start in range(0, len(items), batch_size):
            part = slice(start, start + batch_size)
            features = self._encode(items[part], used[part])
            outputs = _outputs([_run(self.model, features)], [list(range(len(features)))], len(features))
            predictions += [self._prediction(outputs, i, modalities) for i, modalities in enumerate(used[part])]
        return predictions

    def _encode(self, items: Sequence[Input], used: Sequence[tuple[Modality, ...]]) -> list[Item]:
        features = [Item(id=str(i)) for i in range(len(items))]
        for name in self.modalities:
            rows = [i for i, modalities in enumerate(used) if name in modalities]
            if not rows:
                continue
            if name == "audio":
                waves = [cast(Waveform, items[i].audio) for i in rows]
                values = cast("AudioEncoder", self.encoders[name]).encode(waves)
            else:
                values = cast("TextEncoder", self.encoders[name]).encode([str(items[i].words) for i in rows])
            for i, frames in zip(rows, values, strict=True):
                features[i] = (
                    replace(features[i], audio=frames) if name == "audio" else replace(features[i], text=frames)
                )
        return features

    def _prediction(self, outputs: Outputs, i: int, modalities: tuple[Modality, ...]) -> Prediction:
        names = self.card.labels.names
        probabilities = outputs.probabilities[i]
        return Prediction(
            emotion=names[int(probabilities.argmax())],
            probabilities=dict(zip(names, probabilities.tolist(), strict=True)),
            attribution=dict(zip(names, outputs.attribution[i].tolist(), strict=True)),
            consistency=float(outputs.consistency[i]),
            modalities=modalities,
            model_version=self.version,
        )


def predict_split(
    model: LSGMER, split: FeatureSplit, batch_size: int, rows: Sequence[int] | None = None, device: str = "cpu"
) -> Outputs:
    """Return `model`'s outputs for `rows` (default: all) of `split`, in that order."""
    model = model.eval().to(choose_device(device))
    names = model.fusion.names
    rows = range(len(split)) if rows is None else rows
    lengths = np.stack([split.lengths(name) for name in names])[:, list(rows)]  # (M, N)
    readable = np.flatnonzero(lengths.any(0))
    buckets = [readable[bucket].tolist() for bucket in length_buckets(lengths.sum(0)[readable], batch_size)]
    parts = [_run(model, [_only(split.item(int(rows[i])), names) for i in bucket]) for bucket in buckets]
    return _outputs(parts, buckets, len(rows), len(split.label_set))


def consistency(attribution: Array, probabilities: Array) -> Array:
    """Return 1 - JS(q, p) / ln 2 per row, (N,) in [0, 1], of distributions (N, C): 1 where both views agree."""
    middle = (attribution + probabilities) / 2
    divergence = (_kl(attribution, middle) + _kl(probabilities, middle)) / 2
    return np.asarray(np.clip(1 - divergence / np.log(2), 0.0, 1.0))


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda". Raises LsgmerError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise LsgmerError("runtime.device is cuda, but torch sees no GPU; set runtime.device to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@torch.inference_mode()
def _run(model: LSGMER, items: Sequence[Item]) -> ModelOutput:
    """Return the model's output for `items`, on the CPU."""
    device = next(model.parameters()).device
    batch = collate(items, labels_known=False)
    moved = Batch(batch.ids, _to(batch.audio, device), _to(batch.text, device))
    output = model(moved)
    return ModelOutput(output.logits.cpu(), output.attribution.cpu(), output.fused.cpu())


def _outputs(
    parts: Sequence[ModelOutput], rows: Sequence[Sequence[int]], count: int, labels: int | None = None
) -> Outputs:
    """Put the outputs of several batches where `rows` says, among `count` utterances."""
    labels = parts[0].logits.shape[1] if parts else int(labels or 1)
    width = parts[0].fused.shape[1] if parts else 0
    probabilities = np.full((count, labels), 1 / labels)
    attribution, fused = probabilities.copy(), np.zeros((count, width))
    readable = np.zeros(count, dtype=bool)
    for part, places in zip(parts, rows, strict=True):
        index = list(places)
        probabilities[index] = part.logits.double().softmax(-1).numpy()
        attribution[index] = _normalised(part.attribution.double().numpy())
        fused[index] = part.fused.double().numpy()
        readable[index] = True
    trust = np.where(readable, consistency(attribution, probabilities), 0.0)
    return Outputs(probabilities, attribution, fused, trust, readable)


def _check_audio(wave: Waveform) -> None:
    if not len(wave.samples):
        raise LsgmerError("the audio is empty: no samples; give a recording of at least a few tenths of a second")
    if not np.isfinite(wave.samples).all():
        raise LsgmerError("the audio holds samples that are not numbers (NaN or infinite); export the recording again")


def _only(item: Item, names: Sequence[Modality]) -> Item:
    """Drop what the model does not read, so that it is not padded for nothing."""
    return replace(
        item, audio=item.audio if "audio" in names else None, text=item.text if "text" in names else None, label=None
    )


def _to(given: ModalityBatch | None, device: torch.device) -> ModalityBatch | None:
    return None if given is None else ModalityBatch(given.values.to(device), given.is_padding.to(device))


def _normalised(values: Array) -> Array:
    return np.asarray(values / values.sum(-1, keepdims=True))


def _kl(left: Array, right: Array) -> Array:
    """Return KL(left || right) per row; 0 log 0 counts as 0."""
    tiny = np.finfo(np.float64).tiny
    return np.asarray((left * (np.log(np.maximum(left, tiny)) - np.log(np.maximum(right, tiny)))).sum(-1))
