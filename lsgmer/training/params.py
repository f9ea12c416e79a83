"""The sections `train` and `controls` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from lsgmer.core.sections import Part, RuntimeParams, Section, Sections, Share
from lsgmer.encoders.params import FinetunePart
from lsgmer.model.params import ModelParams, ObjectiveParams

AUTO = "auto"
FROZEN_EPOCHS = 30
LEARNING_EPOCHS = 5  # the best epoch is among the first few, and each costs minutes: docs/log.md


class TrainParams(FinetunePart):
    """The optimiser, its schedule and early stopping; `select` is the validation metric that chooses the epoch.

    `epochs: auto` is FROZEN_EPOCHS, or LEARNING_EPOCHS where encoder layers learn; the card holds the number.
    Each step sees a random stretch of an utterance's audio, at least `audio_crop` of its frames; 1 keeps all of them.

    `finetune` names the encoder layers that learn too: the top one at `encoder_learning_rate`, each layer below at
    `layer_decay` of the rate of the one above it. A batch is divided into `accumulation` pieces, or into one for each
    process if there are more of those; its gradient is that of the whole batch either way. With `average_decay`, a
    moving average of the weights over the steps is what is evaluated and kept. `calibrate` fits a temperature on valid.
    `abstain_risk` is the share of wrong answers that a service which abstains accepts, on valid.

    `members` above 1 trains that many models, from seeds `runtime.seed` and up; their mean is the model.
    """

    epochs: PositiveInt
    patience: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    warmup_share: Share
    max_gradient_norm: PositiveFloat
    modality_dropout: Share
    audio_crop: Share = 1.0
    encoder_learning_rate: PositiveFloat = 1e-4
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    lora_rank: PositiveInt = 8
    gradient_checkpointing: bool = False
    accumulation: PositiveInt = 1
    calibrate: bool = True
    abstain_risk: Annotated[float, Field(gt=0, lt=1)] = 0.1
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    members: PositiveInt = 1
    select: Literal["balanced_accuracy", "weighted_f1"] = "balanced_accuracy"

    @model_validator(mode="before")
    @classmethod
    def _auto_epochs(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("epochs") != AUTO:
            return given
        finetune = given.get("finetune") or {}
        learns = isinstance(finetune, dict) and any(layers != "none" for layers in finetune.values())
        return {**given, "epochs": LEARNING_EPOCHS if learns else FROZEN_EPOCHS}


def _as_tuple(given: Any) -> Any:
    return tuple(given) if isinstance(given, list | tuple) else (given,)


class ControlsParams(Section):
    """What the fused model is compared with: the controls to train, and the linear baseline's penalties 1 / C.

    `linear_c` is a list of candidates, or one number; the validation split chooses, by `train.select`.
    """

    variants: tuple[Literal["audio", "text"], ...]
    linear_c: Annotated[tuple[PositiveFloat, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class TrainingSections(Sections):
    """The sections that a training run reads; its card stores them unchanged."""

    runtime: Part[RuntimeParams]
    model: ModelParams
    objective: ObjectiveParams
    train: TrainParams
