"""What evaluation and the gate write: metrics, the comparison with the champion, the decision."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lsgmer.core.records import Modality, Record
from lsgmer.metrics import Interval, ModelMetrics
from lsgmer.model.train_card import Calibration


class Metrics(Record):
    """Everything the gate and the report read. `models` holds fused, audio, text, linear and majority.

    `differences` are paired, in balanced accuracy; `groups` are of the fused model by sex, speaker (digest) and
    tag; `subgroup_models` holds balanced accuracy by tag and model. `weights_sha256` identifies the fused model,
    `calibration` says what its temperature does to ECE on test. `transcribed` counts test utterances whose words a
    machine wrote.
    """

    labels: tuple[str, ...]
    chance: float
    n_speakers: int
    models: dict[str, ModelMetrics]
    differences: dict[str, Interval]
    groups: dict[str, dict[str, ModelMetrics]]
    subgroup_models: dict[str, dict[str, Interval]] = Field(default_factory=dict)
    incumbent: IncumbentComparison | None = None
    weights_sha256: str | None = None
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()
    transcribed: int = 0
    robustness: tuple[Robustness, ...] = ()


class Robustness(Record):
    """What one perturbation of `n` test utterances does to the fused model.

    `unchanged` is the share of decisions that stay, `before` and `after` are balanced accuracy (UA), `change` is their
    difference, paired.
    """

    perturbation: str
    modality: Modality
    n: int
    unchanged: float
    before: float
    after: float
    change: Interval


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
    """The rules' results, and the worst of their verdicts: REJECT over HOLD over PASS."""

    verdict: Verdict
    rules: tuple[RuleResult, ...]
    metrics_sha256: str
    weights_sha256: str


class Incumbent(Record):
    """incumbent.json: the champion that a challenger is compared with, or why there is none."""

    champion: str | None
    weights_sha256: str | None
    reason: str
