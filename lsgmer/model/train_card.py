"""The train card: all that is needed, besides the weights, to rebuild the model. Imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lsgmer.core.records import EncoderSpec, Labels, LearningSpec, Modality, Record, TranscriberSpec, read_record


class Calibration(Record):
    """Temperature scaling: logits are divided by `temperature`, fitted on valid; ECE there before and after."""

    temperature: float
    ece_before: float
    ece_after: float


class Abstention(Record):
    """When to give no emotion: below `threshold` of the largest probability, at most `risk` of the others are wrong.

    `coverage` is the share of the validation split at or above it. Measured there, on `n` utterances, not promised.
    """

    risk: float
    threshold: float
    coverage: float
    n: int


class Member(Record):
    """One model of an ensemble: its seed, the epoch that was kept, and what that reached on the validation split."""

    seed: int
    best_epoch: int
    epochs_run: int
    valid_metrics: dict[str, float]


class TrainCard(Record):
    """card.json: what is needed, besides the weights, to rebuild the model, and what it was trained on.

    Of an ensemble, `members` has an entry per model, `valid_metrics` are those of their mean, and `best_epoch` and
    `epochs_run` are the first member's.
    Where words were missing and a machine wrote them, `transcribed` counts the utterances that have such words, per
    split, and `transcriber` is what wrote them.
    It holds nothing that differs between two clones of one commit, so that equal training gives equal bytes.
    """

    format: Literal["lsgmer-train-card/1"] = "lsgmer-train-card/1"
    variant: str
    labels: Labels
    encoders: dict[Modality, EncoderSpec | None]
    params: dict[str, Any]
    manifest_sha256: str
    feature_sha256: dict[str, str]
    weights_sha256: str
    seed: int
    parameters: int
    best_epoch: int
    epochs_run: int
    valid_metrics: dict[str, float]
    split_counts: dict[str, int]
    seen_speakers: tuple[str, ...]
    versions: dict[str, str]
    learning: dict[Modality, LearningSpec] = Field(default_factory=dict)
    calibration: Calibration | None = None
    abstention: Abstention | None = None
    normalise: str = "none"
    members: tuple[Member, ...] = ()
    transcriber: TranscriberSpec | None = None
    transcribed: dict[str, int] = Field(default_factory=dict)


WEIGHTS = "model.safetensors"
CARD = "card.json"
ENCODERS = "encoders"  # folder of packed encoders next to them, one subfolder per modality


def load_card(folder: Path) -> TrainCard:
    """Return the card in `folder`. Raises LsgmerError when it is absent or not a card."""
    return read_record(folder / CARD, TrainCard, "run `lsgmer run`")


def speaker_digest(speaker: str) -> str:
    """Return 16 hex digits that identify a speaker in cards without giving the name.

    If two corpora use one name for different people, the champion comparison merely leaves out more utterances.
    """
    return hashlib.sha256(f"speaker/{speaker}".encode()).hexdigest()[:16]
