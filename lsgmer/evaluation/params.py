"""The sections `evaluate` and `gate` of params.yaml."""

from __future__ import annotations

from pydantic import (
    PositiveInt,
)

from lsgmer.core.sections import CorpusFolder, Part, Section, Sections, SeededParams, Share


class EvaluateParams(Section):
    """Bootstrap resamples, bins of the expected calibration error, and the smallest subgroup that is reported."""

    bootstrap: PositiveInt
    ece_bins: PositiveInt
    min_group: PositiveInt


class GateParams(Section):
    """Thresholds of the gate. Null switches a rule off; margins are differences in balanced accuracy."""

    min_balanced_accuracy: Share | None
    min_over_chance: Share | None
    min_over_linear: float | None
    min_class_recall: Share | None
    max_ece: Share | None
    max_subgroup_gap: Share | None
    champion_margin: Share
    min_champion_utterances: PositiveInt


class EvaluationSections(Sections):
    """What evaluation reads; the corpus folder is for a champion whose encoders differ from the feature store's."""

    runtime: Part[SeededParams]
    corpus: Part[CorpusFolder]
    evaluate: EvaluateParams
