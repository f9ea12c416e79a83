"""One served answer. Imports no torch: a service knows its form before it has a model."""

from __future__ import annotations

from lsgmer.core.records import Modality, Record


class Prediction(Record):
    """One served answer. `consistency` = 1 - JS(q, p) / ln 2, in [0, 1]; 1 when both views agree."""

    emotion: str
    probabilities: dict[str, float]
    attribution: dict[str, float]
    consistency: float
    modalities: tuple[Modality, ...]
    model_version: str
    request_id: str | None = None


ENCODERS = "encoders"
