"""The section `features` of params.yaml: which encoders read audio and text."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    NegativeFloat,
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

Normalise = Literal["none", "speaker", "session"]
Learns = Annotated[str, Field(pattern=r"^(none|all|lora|last_[1-9][0-9]*)$")]


class FinetuneParams(Section):
    """Which layers of each encoder learn: none, last_N (the last N layers), all, or lora (low-rank updates of all)."""

    audio: Learns = "none"
    text: Learns = "none"


class FinetunePart(Section):
    """What feature extraction reads of the section `train`: what lies below the first layer that learns is stored."""

    finetune: FinetuneParams = FinetuneParams()


class AudioEncoderParams(Section):
    """Which encoder reads the audio.

    `logmel` needs no weights. `speech_lstm` is the LSTM of an installed package: its `layers` (1 to 3, null: the
    last) and, with `prosody`, the logmel frames after them; speech is first scaled to `level_dbfs` (null: quieter
    speech is raised to -30, as in the original). `moonshine` is the encoder of an installed speech recogniser, an
    optional extra: its `layer` (1 to 6, null: 3), a frame every 24 ms. `transformers` loads HuBERT, WavLM or
    wav2vec 2.0 from a folder or hub id. `precomputed` reads .parquet or .npz in the corpus folder (docs/corpora.md),
    keyed by utterance id. `layers` of a transformer are concatenated, or with `mix` weighted by what the model learns.
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
    mix: bool = False
    sha256: str | None = None

    @model_validator(mode="after")
    def _layers_to_mix(self) -> AudioEncoderParams:
        if self.kind == "transformers" and self.layers and self.layer is not None:
            raise ValueError(f"layer ({self.layer}) and layers {list(self.layers)} are both given: leave one out")
        _check_mix(self.mix, self.kind, self.layers)
        return self


class TranscribeParams(Section):
    """Which recogniser writes the words of utterances that have audio and none: they are marked as automatic.

    `moonshine` is English, inside an installed package, an optional extra. `whisper` loads Whisper, or another
    sequence-to-sequence recogniser, from a folder (or a hub id at a `revision`), through transformers; `language` is
    what a multilingual one should expect (null: it decides). Words of a lower mean log-probability than
    `min_log_probability` are not believed (null: -0.5, which was measured with Moonshine).
    """

    kind: Literal["moonshine", "whisper"]
    source: str | None = None
    revision: str | None = None
    sha256: str | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None
    min_log_probability: NegativeFloat | None = None

    @model_validator(mode="after")
    def _whisper_has_a_folder(self) -> TranscribeParams:
        given = [name for name in ("source", "revision", "sha256", "language") if getattr(self, name) is not None]
        if self.kind == "moonshine" and given:
            raise ValueError(f"{', '.join(given)}: kind moonshine is one model, in English; leave this out")
        if self.kind == "whisper" and self.source is None:
            raise ValueError("kind whisper needs a source: a folder that transformers' save_pretrained wrote")
        return self


class TextEncoderParams(Section):
    """Which encoder reads the text.

    `transformers` loads BERT, RoBERTa or MiniLM from `package:NAME/FOLDER`, a folder or a hub id.

    `context` is how many earlier utterances of the same dialogue are read before each text; they share `max_tokens`.
    With `marks`, each is preceded by a word that says whether the same or another speaker said it.
    `layers` concatenates the hidden states of several layers, or with `mix` the model learns a weight for each; `layer`
    names a single one.

    `precomputed` reads .parquet or .npz in the corpus folder (docs/corpora.md), keyed by utterance id.
    With `transcribe`, the words of utterances that have audio and none are written by a machine, and marked as such.
    """

    kind: Literal["none", "transformers", "precomputed"]
    source: str | None = None
    revision: str | None = None
    layer: int | None = None
    layers: tuple[NonNegativeInt, ...] = ()
    max_tokens: PositiveInt = 128
    context: NonNegativeInt = 0
    marks: bool = True
    mix: bool = False
    sha256: str | None = None
    transcribe: TranscribeParams | None = None

    @model_validator(mode="after")
    def _something_reads_what_is_transcribed(self) -> TextEncoderParams:
        if self.transcribe is not None and self.kind != "transformers":
            raise ValueError(f"transcribe: no encoder reads the words of kind {self.kind}; set transcribe to null")
        return self

    @model_validator(mode="after")
    def _one_choice_of_layers(self) -> TextEncoderParams:
        if self.layers and self.layer is not None:
            raise ValueError(f"layer ({self.layer}) and layers {list(self.layers)} are both given: leave one out")
        _check_mix(self.mix, self.kind, self.layers)
        return self


def _check_mix(mix: bool, kind: str, layers: tuple[int, ...] | None) -> None:
    if mix and (kind != "transformers" or len(layers or ()) < 2):
        raise ValueError("mix weighs several layers of a transformer: give kind transformers and at least two layers")


def _one_or_several(given: Any) -> str:
    return SEVERAL if isinstance(given, list | tuple) else ONE


# Tagged, because an untagged union reports what is wrong with a value once per form.
AudioParams = Annotated[
    Annotated[AudioEncoderParams, Tag(ONE)] | Annotated[tuple[AudioEncoderParams, ...], Tag(SEVERAL)],
    Discriminator(_one_or_several),
]


class FeaturesParams(Section):
    """The encoders, how many utterances a batch has at most, and whether each speaker's audio level is removed.

    `audio` is one encoder or a list that runs side by side. With `normalise`, audio frames have mean 0 and deviation 1
    over the utterances of each speaker (session). `augment` names perturbations (features/perturbations.py) of which
    each training utterance gets a copy.
    """

    audio: AudioParams
    text: TextEncoderParams
    batch_size: PositiveInt
    normalise: Normalise = "none"
    augment: tuple[str, ...] = ()

    @field_validator("audio")
    @classmethod
    def _can_run_side_by_side(cls, audio: AudioParams) -> AudioParams:
        if audio == ():
            raise ValueError("the list has no encoder; for a model that reads no audio, set it to {kind: none}")
        if isinstance(audio, tuple) and (alone := [part.kind for part in audio if part.kind in NEVER_BESIDE]):
            raise ValueError(f"an encoder of kind {alone[0]} cannot be in a list; take it out, or give it alone")
        if isinstance(audio, tuple) and any(part.mix for part in audio):
            raise ValueError("mix cannot be used in a list of encoders: give that encoder alone, or leave mix out")
        return audio

    @model_validator(mode="after")
    def _some_modality(self) -> FeaturesParams:
        no_audio = isinstance(self.audio, AudioEncoderParams) and self.audio.kind == "none"
        if no_audio and self.text.kind == "none":
            raise ValueError("audio.kind and text.kind are both none: nothing to learn from")
        return self
