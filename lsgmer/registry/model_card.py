"""The final card of a model, its lineage, and the record of a package."""

from __future__ import annotations

from typing import Literal

from lsgmer.audio import AudioLimits
from lsgmer.core.records import Record
from lsgmer.core.source import SourceState
from lsgmer.evaluation.records import GateDecision, Metrics
from lsgmer.model.train_card import TrainCard


class Forced(Record):
    """A promotion that overrides the gate: who is responsible for it, and why."""

    reason: str
    by: str


class Lineage(Record):
    """Hashes (sha256) of the records in a package, and the state of the source that made it."""

    lock_sha256: str
    params_sha256: str
    gate_sha256: str
    metrics_sha256: str
    weights_sha256: str
    train_card_sha256: str
    profile_sha256: str
    manifest_sha256: str
    source: SourceState


class ModelCard(Record):
    """The final card: packaging composes it, and the service shows it at /card.

    `audio_limits` are what validation demanded of the recordings, and `channel` is the one that was read of those with
    several (None: all, mixed): what is predicted is held to the same. With `transcribes`, Moonshine is among the
    Bento's requirements.
    """

    format: Literal["lsgmer-model-card/1"] = "lsgmer-model-card/1"
    name: str
    train: TrainCard
    metrics: Metrics
    gate: GateDecision
    lineage: Lineage
    intended_use: str
    limits: tuple[str, ...]
    forced: Forced | None = None
    speakers: int = 0
    speaker_hours: float = 24.0
    audio_limits: AudioLimits | None = None
    channel: int | None = None
    transcribes: bool = False


class PackageRecord(Record):
    """package.json: the Bento that packaging built, and the sha256 of everything in it.

    `card_sha256` is the model card's, `source_sha256` that of the project's source (as in its lineage). `files` maps
    each path inside the Bento ("src/...") to its sha256: bento.yaml, which holds a creation time, is not in it.
    """

    format: Literal["lsgmer-package/1"] = "lsgmer-package/1"
    tag: str
    version: str
    weights_sha256: str
    card_sha256: str
    lock_sha256: str
    params_sha256: str
    gate_sha256: str
    metrics_sha256: str
    source_sha256: str
    files: dict[str, str]
    forced: Forced | None = None
