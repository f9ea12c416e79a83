"""The sections `corpus` and `sample` of params.yaml: which data, and how it is read."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from lsgmer.core.records import Labels
from lsgmer.core.sections import Section, Share
from lsgmer.manifests.params import CorpusContents, ManifestParams

TABLES = ("sample", "table")  # corpora that are a table
OFFICIAL = ("meld",)  # corpora that publish a partition of their own


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


class CorpusParams(CorpusContents):
    """Which corpus, where, and what its labels mean.

    `path` is the folder DVC versions; the table and all audio lie inside it. `synthesize` is what the
    stage `sample` makes: ["sample"] for the sample corpus, [] for any other. `table` and `columns` apply to
    corpora that are a table, `clips` to MELD (where its audio comes from; none: text only) and `by_plurality`
    to IEMOCAP (the evaluators' word: the word that an undecided turn gets). With `features_only` a table's row needs
    neither audio nor text: its features are precomputed.
    """

    name: Literal["sample", "table", "iemocap", "meld", "emodb", "cremad"]
    synthesize: tuple[Literal["sample"], ...]
    table: str | None = None
    columns: ColumnParams | None = None
    clips: Literal["none", "wav", "mp4"] | None = None
    by_plurality: dict[str, str] = Field(default_factory=dict)
    label_map: dict[str, str | None]

    @model_validator(mode="after")
    def _consistent(self) -> CorpusParams:
        names = set(Labels(items=self.labels).names)
        unknown = {raw: to for raw, to in self.label_map.items() if to is not None and to not in names}
        if unknown:
            raise ValueError(
                f"label_map maps to labels that are not in `labels`: {unknown}; labels are {sorted(names)}"
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
            raise ValueError(f"corpus {self.name} has its own layout: set table: null and columns: null")
        if (self.clips is not None) != (self.name == "meld"):
            raise ValueError("clips (none, wav or mp4) must be set for meld, and for no other corpus")
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


def demand_split_fits(corpus: CorpusParams, manifest: ManifestParams) -> None:
    """Raise ValueError for a kind of split that the corpus does not have, or that would leak in it."""
    if manifest.split == "official" and corpus.name not in OFFICIAL:
        raise ValueError(
            f"manifest.split: official is for corpora that publish a partition ({', '.join(OFFICIAL)}), "
            f"not for {corpus.name}; set manifest.split to given, speaker or session"
        )
    if manifest.split == "speaker" and corpus.name == "meld":
        raise ValueError(
            "manifest.split: speaker would leak in meld, whose joint speakers (Joey and Chandler) include the "
            "voices of others; set manifest.split to official"
        )
