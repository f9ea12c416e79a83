"""The sections `evaluate` and `gate` of params.yaml."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from lsgmer.core.sections import CorpusFolder, Part, Section, Sections, SeededParams, Share

# The names of features/perturbations.py, here so that the gate does not depend on what reads audio.
PERTURBATIONS = (
    "gain_down_12_db",
    "gain_up_6_db",
    "noise_20_db",
    "noise_10_db",
    "narrow_band",
    "telephone",
    "mp3",
    "opus",
    "clipping",
    "leading_silence",
    "slower_10",
    "faster_10",
    "word_errors_15",
    "plain_text",
    "capitals",
)


class EvaluateParams(Section):
    """Bootstrap resamples, bins of the expected calibration error, and the smallest subgroup that is reported.

    `robustness_utterances` of the test split, at most, are also predicted under noise, codecs and word errors; 0: none.
    """

    bootstrap: PositiveInt
    ece_bins: PositiveInt
    min_group: PositiveInt
    robustness_utterances: NonNegativeInt = 24


class GateParams(Section):
    """Thresholds of the gate. Null switches a rule off; margins are differences in balanced accuracy.

    `max_robustness_loss` maps a perturbation of the evaluation to the balanced accuracy that it may cost.
    """

    min_balanced_accuracy: Share | None
    min_over_chance: Share | None
    min_over_linear: float | None
    min_class_recall: Share | None
    max_ece: Share | None
    max_subgroup_gap: Share | None
    champion_margin: Share
    min_champion_utterances: PositiveInt
    max_robustness_loss: dict[str, Share] = Field(default_factory=dict)

    @field_validator("max_robustness_loss")
    @classmethod
    def _known(cls, given: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(given) - set(PERTURBATIONS))
        if unknown:
            raise ValueError(f"no perturbation is called {', '.join(unknown)}; there are {', '.join(PERTURBATIONS)}")
        return given


class EvaluationSections(Sections):
    """What evaluation reads; the corpus folder is for a champion whose encoders differ from the feature store's."""

    runtime: Part[SeededParams]
    corpus: Part[CorpusFolder]
    evaluate: EvaluateParams
