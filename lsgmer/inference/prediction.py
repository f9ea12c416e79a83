"""The record of one prediction. Imports no torch, so that a service can declare it before it loads a model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lsgmer.core.records import Modality, Record


class AutomaticTranscript(Record):
    """Words that a machine heard in the audio, and that were read with it.

    `text` is empty where none were believed; `reason` says why, or what of several pieces was left out.
    """

    text: str
    automatic: Literal[True] = True
    reason: str | None = None


class Prediction(Record):
    """A prediction. `consistency` = 1 - JS(q, p) / ln 2, in [0, 1]: 1 when attribution q and probabilities p agree.

    `context_used` is how many earlier utterances were read with the words; None where the model reads no context.
    `normalised_by` says whose audio level was removed: the speaker's own, from `enrolled` utterances, or that of the
    training data; None where the model leaves levels in. `warnings` say what of the input was not read, or is unlike
    training. `contribution` is, for each modality that was used, how much less probable the emotion is without it; of
    a single one it is the probability over chance. `abstained`: no emotion is given, as the model is not sure enough.
    `transcript` is what was heard where words were asked for and none were given; None where nothing was transcribed.
    """

    emotion: str | None
    probabilities: dict[str, float]
    attribution: dict[str, float]
    consistency: float
    modalities: tuple[Modality, ...]
    model_version: str
    request_id: str | None = None
    contribution: dict[Modality, float] = Field(default_factory=dict)
    duration_s: float | None = None
    abstained: bool = False
    context_used: int | None = None
    normalised_by: Literal["speaker", "training"] | None = None
    enrolled: int | None = None
    warnings: tuple[str, ...] = ()
    transcript: AutomaticTranscript | None = None
