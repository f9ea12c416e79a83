"""The sections of params.yaml that say which data, and how they are read; `lsgmer.params` holds the others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from lsgmer.types import Label, Labels, Seconds

Share = Annotated[float, Field(ge=0, le=1)]
TABLES = ("sample", "table")  # corpora that are a table
OFFICIAL = ("meld",)  # corpora that publish a partition of their own
LEAKY = ("random", "utterance", "utterances", "random_utterance", "random_utterances", "leaky_random_utterances")


class Section(BaseModel):
    """A section of params.yaml: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ColumnParams(Section):
    """The table's column for each field; null where it has none."""

    id: str | None = None
    audio: str | None = None
    text: str | None = None
    emotion: str = "emotion"
    speaker: str = "speaker"
    session: str | None = None
    dialogue: str | None = None
    turn: str | None = None
    sex: str | None = None
    start_s: str | None = None
    end_s: str | None = None
    split: str | None = None
    tags: str | None = None


class CorpusParams(Section):
    """Which corpus, where, and what its labels mean.

    `path` is the folder DVC versions; the table and all audio lie inside it. `synthesize` is what the
    sample stage makes: ["sample"] for the sample corpus, [] for any other. `table` and `columns` are of the
    corpora that are a table, `clips` of MELD (where its audio comes from; none: text only) and `by_plurality`
    of IEMOCAP (the evaluators' word: raw word that an undecided turn gets). With `features_only` a table's row needs
    neither audio nor text: its features are precomputed.
    """

    name: Literal["sample", "table", "iemocap", "meld", "emodb", "cremad"]
    path: str
    synthesize: tuple[Literal["sample"], ...]
    table: str | None = None
    columns: ColumnParams | None = None
    clips: Literal["none", "wav", "mp4"] | None = None
    by_plurality: dict[str, str] = {}
    features_only: bool = False
    labels: tuple[Label, ...]
    label_map: dict[str, str | None]
    expected_counts: dict[str, PositiveInt]

    @property
    def label_set(self) -> Labels:
        """The ordered labels."""
        return Labels(items=self.labels)

    @model_validator(mode="after")
    def _consistent(self) -> CorpusParams:
        names = set(Labels(items=self.labels).names)
        unknown = {raw: to for raw, to in self.label_map.items() if to is not None and to not in names}
        if unknown:
            raise ValueError(
                f"label_map leads to labels that are not in `labels`: {unknown}; labels are {sorted(names)}"
            )
        if self.synthesize != (("sample",) if self.name == "sample" else ()):
            raise ValueError("synthesize must be [sample] when name is sample, and [] otherwise")
        return self

    @model_validator(mode="after")
    def _only_what_the_corpus_has(self) -> CorpusParams:
        tables = (self.table is not None, self.columns is not None)
        if self.name in TABLES and not all(tables):
            raise ValueError(f"corpus {self.name} is a table: name it in table, and its columns in columns")
        if self.name not in TABLES and any(tables):
            raise ValueError(f"corpus {self.name} is read by its own layout: set table: null and columns: null")
        if (self.clips is not None) != (self.name == "meld"):
            raise ValueError("clips (none, wav or mp4) must be said for meld, and for no other corpus")
        if self.by_plurality and self.name != "iemocap":
            raise ValueError("by_plurality is for iemocap only")
        if self.features_only and self.name != "table":
            raise ValueError("features_only is for corpus table only")
        return self


class SampleParams(Section):
    """The synthetic corpus. Shares are of each split and add up to 1."""

    seed: NonNegativeInt
    utterances: dict[Literal["train", "valid", "test"], PositiveInt]
    shares: dict[Literal["congruent", "voice_only", "text_only", "contradictory"], Share]

    @model_validator(mode="after")
    def _shares_add_up(self) -> SampleParams:
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares add up to {sum(self.shares.values())}, not 1")
        return self


class ManifestParams(Section):
    """How utterances get their split. `given` takes the corpus's own; speaker and session are sticky by salted hash.

    `official` is the partition that the corpus's publishers made, shared speakers and all: they are told, not refused.
    """

    split: Literal["given", "speaker", "session", "official"]
    salt: str
    valid_share: Share
    test_share: Share

    @field_validator("split", mode="before")
    @classmethod
    def _no_leak(cls, value: object) -> object:
        if isinstance(value, str) and value.lower().replace("-", "_") in LEAKY:
            raise ValueError(
                "a random split by utterance puts one speaker's voice on both sides (worth about 12 points of "
                "accuracy on IEMOCAP), so no stage of the pipeline offers it; set manifest.split to speaker or "
                "session. To measure the leak, run a study with `protocol: {kind: leaky_random_utterances}` in "
                "experiments/params.yaml: every report of it is marked LEAKY"
            )
        return value


class ValidateParams(Section):
    """Limits of the data checks, and how much may be rejected before validation fails."""

    min_duration_s: Seconds
    max_duration_s: Seconds
    max_silence_share: Share
    max_clipping_share: Share
    min_sample_rate: PositiveInt
    min_class_share: Share
    min_split_share: Share
    max_rejected_share: Share
    processes: NonNegativeInt


class AudioEncoderParams(Section):
    """Which encoder reads the audio.

    `logmel` needs no weights. `speech_lstm` reads the LSTM of an installed package, its `layers` (1 to 3, null: the
    last) and, with `prosody`, the logmel frames beside them, of speech brought to `level_dbfs` (null: raised to -30
    where it is quieter, as the original does). `transformers` loads HuBERT, WavLM or wav2vec 2.0 from a
    folder or hub id. `precomputed` reads .parquet or .npz in the corpus folder (docs/corpora.md), by utterance id.
    """

    kind: Literal["none", "logmel", "speech_lstm", "transformers", "precomputed"]
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
    """`transformers` loads BERT, RoBERTa or MiniLM from `package:NAME/FOLDER`, a folder or a hub id.

    `context` is how many earlier utterances of the same dialogue are read before each; they share `max_tokens`.
    `layers` puts the hidden states of several layers side by side, instead of the one that `layer` names.

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


class FeaturesParams(Section):
    """Encoders, and how many seconds of audio or texts go through them at once."""

    audio: AudioEncoderParams
    text: TextEncoderParams
    batch_size: PositiveInt

    @model_validator(mode="after")
    def _some_modality(self) -> FeaturesParams:
        if self.audio.kind == "none" and self.text.kind == "none":
            raise ValueError("audio.kind and text.kind are both none: nothing to learn from")
        return self
