"""The section `features` of params.yaml: which encoders read audio and text."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from lsgmer.core.sections import Section

ONE, SEVERAL = "<one>", "<several>"
NEVER_BESIDE = ("none", "precomputed")  # precomputed features have no hop, so nothing can be aligned to them


class AudioEncoderParams(Section):
    """Which encoder reads the audio.

    `logmel` needs no weights. `speech_lstm` is the LSTM of an installed package: its `layers` (1 to 3, null: the
    last) and, with `prosody`, the logmel frames after them; speech is first scaled to `level_dbfs` (null: quieter
    speech is raised to -30, as in the original). `moonshine` is the encoder of an installed speech recogniser, an
    optional extra: its `layer` (1 to 6, null: 3), a frame every 24 ms. `transformers` loads HuBERT, WavLM or
    wav2vec 2.0 from a folder or hub id. `precomputed` reads .parquet or .npz in the corpus folder (docs/corpora.md),
    keyed by utterance id.
    """

    kind: Literal["none", "logmel", "speech_lstm", "moonshine", "transformers", "precomputed"]
    source: str | None = None
    revision: str | None = None
    layer: int | None = None
    n_mels: PositiveInt = 64
    hop_ms: PositiveFloat = 20.0
    layers: tuple[PositiveInt, ...] | None = None
    prosody: bool = False
    level_dbfs: float | None = None
    sha256: str | None = None


class TextEncoderParams(Section):
    """Which encoder reads the text.

    `transformers` loads BERT, RoBERTa or MiniLM from `package:NAME/FOLDER`, a folder or a hub id.

    `context` is how many earlier utterances of the same dialogue are read before each text; they share `max_tokens`.
    `layers` concatenates the hidden states of several layers; `layer` names a single one.

    `precomputed` reads .parquet or .npz in the corpus folder (docs/corpora.md), keyed by utterance id.
    """

    kind: Literal["none", "transformers", "precomputed"]
    source: str | None = None
    revision: str | None = None
    layer: int | None = None
    layers: tuple[NonNegativeInt, ...] = ()
    max_tokens: PositiveInt = 128
    context: NonNegativeInt = 0
    sha256: str | None = None

    @model_validator(mode="after")
    def _one_choice_of_layers(self) -> TextEncoderParams:
        if self.layers and self.layer is not None:
            raise ValueError(f"layer ({self.layer}) and layers {list(self.layers)} are both given: leave one out")
        return self


def _one_or_several(given: Any) -> str:
    return SEVERAL if isinstance(given, list | tuple) else ONE


# Tagged, because an untagged union reports what is wrong with a value once per form.
AudioParams = Annotated[
    Annotated[AudioEncoderParams, Tag(ONE)] | Annotated[tuple[AudioEncoderParams, ...], Tag(SEVERAL)],
    Discriminator(_one_or_several),
]


class FeaturesParams(Section):
    """The encoders, and how many utterances make a batch. `audio` is one encoder or a list that runs side by side."""

    audio: AudioParams
    text: TextEncoderParams
    batch_size: PositiveInt

    @field_validator("audio")
    @classmethod
    def _can_run_side_by_side(cls, audio: AudioParams) -> AudioParams:
        if audio == ():
            raise ValueError("the list has no encoder; for a model that reads no audio, set it to {kind: none}")
        if isinstance(audio, tuple) and (alone := [part.kind for part in audio if part.kind in NEVER_BESIDE]):
            raise ValueError(f"an encoder of kind {alone[0]} cannot be in a list; take it out, or give it alone")
        return audio

    @model_validator(mode="after")
    def _some_modality(self) -> FeaturesParams:
        no_audio = isinstance(self.audio, AudioEncoderParams) and self.audio.kind == "none"
        if no_audio and self.text.kind == "none":
            raise ValueError("audio.kind and text.kind are both none: nothing to learn from")
        return self
