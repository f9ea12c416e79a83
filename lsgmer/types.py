"""The nouns of lsgmer, in the order in which data meets them. Imports neither torch nor pandas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Seconds = float
Split = Literal["train", "valid", "test"]
Modality = Literal["audio", "text"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
MODALITIES: tuple[Modality, ...] = ("audio", "text")


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with one spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 (64 hex digits) of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Record(BaseModel):
    """Base of everything that is written to JSON: strict about keys, frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> str:
        """Return indented JSON that ends in a newline; the same bytes for the same content."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class Label(Record):
    """One emotion: its name and a short description, which starts the label embedding."""

    name: Annotated[str, Field(min_length=1)]
    description: Annotated[str, Field(min_length=1)]


class Labels(Record):
    """The ordered emotions of a corpus. Order is meaning: index i is logit i everywhere."""

    items: tuple[Label, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Labels:
        if len(set(self.names)) != len(self.items) or len(self.items) < 2:
            raise ValueError(f"labels need at least two distinct names, got {list(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The label names, in logit order."""
        return tuple(item.name for item in self.items)

    def index(self, name: str) -> int:
        """Return the logit index of `name`. Raises ValueError for an unknown name."""
        return self.names.index(name)

    def __len__(self) -> int:
        """Return the number of labels C."""
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech, its words, or both, with its label.

    `audio` is relative to the corpus folder; `start_s`/`end_s` cut it. `emotion_raw` is the corpus's
    word, `emotion` a name in `Labels`. `split` is None until the manifest assigns one, unless the
    corpus itself gives it.
    """

    id: str
    corpus: str
    speaker: str
    emotion_raw: str
    emotion: str
    split: Split | None = None
    session: str | None = None
    dialogue: str | None = None
    turn: int | None = None
    sex: str | None = None
    audio: str | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that could not be read or used: where it stands, and why."""

    source: str
    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """What was done to rows that were read in spite of a fault, and to which."""

    what: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CorpusReading:
    """What a corpus reader returns: every row is in exactly one of the first two, and `notes` tell of repairs."""

    utterances: tuple[Utterance, ...]
    rejected: tuple[RejectedRow, ...]
    notes: tuple[Note, ...] = ()


class EncoderSpec(Record):
    """What made a feature: enough to make it again, and nothing that may differ without changing it."""

    modality: Modality
    kind: str
    source: str | None = None
    revision: str | None = None
    layer: int | None = None
    dimension: int
    sample_rate: int | None = None
    settings: dict[str, Any] = {}
    weights_sha256: str | None = None
    versions: dict[str, str] = {}

    @property
    def fingerprint(self) -> str:
        """The cache key: sha256 of every field, the library versions included."""
        return digest(self.model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class ModalityBatch:
    """Padded features of one modality: values (B, T, D) and is_padding (B, T), True where padded.

    An utterance without this modality is a row that is padding throughout.
    """

    values: Tensor
    is_padding: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """What the model reads. `labels` (B,) are class indices, or None when they are not known."""

    ids: tuple[str, ...]
    audio: ModalityBatch | None
    text: ModalityBatch | None
    labels: Tensor | None = None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """logits (B, C); attribution (B, C), the distribution q over labels; fused (B, D)."""

    logits: Tensor
    attribution: Tensor
    fused: Tensor


@dataclass(frozen=True, slots=True)
class LossParts:
    """Scalars of the joint objective: total = classification + weight * consistency."""

    total: Tensor
    classification: Tensor
    consistency: Tensor


class SourceState(Record):
    """Which code ran: git commit and dirty flag (None: no git), and a digest of the source files."""

    commit: str | None
    dirty: bool | None
    source_sha256: str


class TrainCard(Record):
    """Train's own record: with the weights beside it, it rebuilds the model and says what made it.

    Holds nothing that differs between two clones of one commit, so that equal training gives equal bytes.
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


class Interval(Record):
    """A value with its 95% bootstrap interval; low and high are None where too few rows allow one."""

    value: float
    low: float | None = None
    high: float | None = None


class ModelMetrics(Record):
    """Metrics of one model on one set of utterances. accuracy is the field's WA, balanced_accuracy its UA."""

    n: int
    accuracy: Interval
    balanced_accuracy: Interval
    weighted_f1: Interval
    macro_f1: Interval
    recall: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    ece: float | None
    mean_consistency: float | None
    selective_accuracy: dict[str, dict[str, float]] = {}  # score -> share answered -> accuracy


class Metrics(Record):
    """Everything the gate and the report read. `models` holds fused, audio, text, linear and majority.

    `differences` are paired, in balanced accuracy; `groups` are of the fused model by sex, speaker (digest) and
    tag; `subgroup_models` holds balanced accuracy by tag and model. `weights_sha256` says whose metrics these are.
    """

    labels: tuple[str, ...]
    chance: float
    n_speakers: int
    models: dict[str, ModelMetrics]
    differences: dict[str, Interval]
    groups: dict[str, dict[str, ModelMetrics]]
    subgroup_models: dict[str, dict[str, Interval]] = {}
    incumbent: IncumbentComparison | None = None
    weights_sha256: str | None = None
    notes: tuple[str, ...] = ()


class IncumbentComparison(Record):
    """Challenger minus champion in balanced accuracy, on speakers that neither was trained on."""

    champion: str
    n: int
    n_speakers: int
    difference: Interval | None
    reason: str


Verdict = Literal["PASS", "HOLD", "REJECT"]


class RuleResult(Record):
    """One gate rule's outcome, with the numbers it was decided on."""

    name: str
    value: float | None
    threshold: float | None
    verdict: Verdict
    reason: str


class GateDecision(Record):
    """The verdict is the worst of the rules': REJECT over HOLD over PASS."""

    verdict: Verdict
    rules: tuple[RuleResult, ...]
    metrics_sha256: str
    weights_sha256: str


class Forced(Record):
    """A promotion in spite of the gate: who answers for it, and why."""

    reason: str
    by: str


class Lineage(Record):
    """Hashes (sha256) of the papers that travel in a package, and the code that made it."""

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
    """The final card: what packaging composes and every served model shows at /card."""

    format: Literal["lsgmer-model-card/1"] = "lsgmer-model-card/1"
    name: str
    train: TrainCard
    metrics: Metrics
    gate: GateDecision
    lineage: Lineage
    intended_use: str
    limits: tuple[str, ...]
    forced: Forced | None = None


class PackageRecord(Record):
    """package.json: which Bento came out of packaging, and the sha256 of everything in it.

    `card_sha256` is the model card's, `source_sha256` the whole program's (as in its lineage). `files` maps
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


class Prediction(Record):
    """One served answer. `consistency` = 1 - JS(q, p) / ln 2, in [0, 1]; 1 when both views agree."""

    emotion: str
    probabilities: dict[str, float]
    attribution: dict[str, float]
    consistency: float
    modalities: tuple[Modality, ...]
    model_version: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono float32 samples (N,) in [-1, 1] and their rate in Hz."""

    samples: np.ndarray[Any, Any]
    sample_rate: int

    @property
    def duration_s(self) -> Seconds:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate
