"""The sections `model` and `objective` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from lsgmer.core.sections import Section, Share


class ModelParams(Section):
    """Sizes of LSGMER, the decay alpha of its label memory, and which of its parts are used (docs/results.md).

    `enhancement: none` leaves out LSE, `label_decay: 0` the moving average. `statistics` says what S(H_m0) pools:
    the projected frames, or the encoder's own features, standardised over utterances. Late fusion averages two
    separately trained models (lsgmer/experiments/cell.py); it is not a value of `fusion`.
    """

    width: PositiveInt
    heads: PositiveInt
    layers: NonNegativeInt
    dropout: Share
    label_decay: Share
    label_start: Literal["text", "random"]
    temperature: PositiveFloat
    statistics: Literal["projected", "input"] = "projected"
    enhancement: Literal["labels", "none"] = "labels"
    fusion: Literal["cross", "gated", "concatenation"] = "cross"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelParams:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class ObjectiveParams(Section):
    """Joint Objective Optimization: the weight and gradient path of APC, and the class weights."""

    consistency_weight: NonNegativeFloat
    consistency_gradient: Literal["both", "prediction", "attribution"]
    class_weight_power: NonNegativeFloat
    label_smoothing: Share
