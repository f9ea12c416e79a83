"""The sections `corpus` and `sample` of params.yaml: which data, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Literal

import regex
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from lsgmer.core.records import Labels, channel_number
from lsgmer.core.sections import Section, Share
from lsgmer.corpora.call_params import CallsParams
from lsgmer.manifests.params import CorpusContents, ManifestParams

TABLES = ("sample", "table")  # corpora that are a table
OFFICIAL = ("meld",)  # corpora that publish a partition of their own
FILENAMES = ("filenames", "emodb", "cremad", "ravdess", "tess", "savee", "esd")  # corpora whose file names say all
NAMED = ("emotion", "speaker")  # groups that every pattern of file names must have
FIELD = re.compile(r"\{(\w+)\}")


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
    channel: str | None = None
    split: str | None = None
    tags: str | None = None


class SpeakersTable(Section):
    """A CSV beside the audio with what is known of each speaker: its path in the corpus folder, and its columns."""

    table: str
    speaker: str
    sex: str


class FilesParams(Section):
    r"""What the names of audio files mean.

    `pattern` is a regular expression that fits the path of a file within `folder` (in corpus.path; "": all of it),
    without its suffix, or the end of that path from a folder or name on. Its named groups `emotion` and `speaker` are
    required; `session`, `dialogue`, `turn`, `sex` and `split` are taken where there are such groups.

    `codes` maps, for any group, what the name says to what it means; a code that is not in a group's map is rejected,
    and null leaves such files out. `text` is what was said, with {group} for what a group means. `tags` are groups
    that become tags. `sex` is by speaker (null: unknown), and other speakers are rejected; or `speakers` names a table
    of them, which may be absent. `example` is a name of the right form, for messages.

    >>> FilesParams(pattern=r"(?P<speaker>\d+)_(?P<emotion>\w+)", example="07_joy").groups()
    ('speaker', 'emotion')
    """

    pattern: str
    folder: str = ""
    example: str | None = None
    codes: dict[str, dict[str, str | None]] = Field(default_factory=dict)
    text: str | None = None
    tags: tuple[str, ...] = ()
    sex: dict[str, str | None] = Field(default_factory=dict)
    speakers: SpeakersTable | None = None

    def compiled(self) -> Any:
        """Return the compiled pattern, whose methods take a time limit."""
        return _compile(self.pattern)

    def groups(self) -> tuple[str, ...]:
        """Return the names of the pattern's groups."""
        return tuple(self.compiled().groupindex)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            groups = _compile(value).groupindex
        except regex.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        missing = [f"(?P<{name}>...)" for name in NAMED if name not in groups]
        if missing:
            raise ValueError(f"has no group {' and no group '.join(missing)}; its groups are {list(groups) or 'none'}")
        return value

    @field_validator("folder")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("must be a folder inside corpus.path, such as AudioData")
        return "" if value == "." else path.as_posix() if value else ""

    @model_validator(mode="after")
    def _only_what_the_pattern_has(self) -> FilesParams:
        groups = self.groups()
        used = {
            "codes": list(self.codes),
            "tags": list(self.tags),
            "text": FIELD.findall(self.text or ""),
        }
        for key, names in used.items():
            unknown = [name for name in names if name not in groups]
            if unknown:
                raise ValueError(f"{key} names {', '.join(unknown)}, but the pattern's groups are {', '.join(groups)}")
        if self.sex and self.speakers:
            raise ValueError("sex and speakers both say who is of which sex: leave one out")
        if self.example is not None and not self.compiled().fullmatch(self.example, timeout=1):
            raise ValueError(f"the pattern does not fit the example {self.example!r}")
        return self


@cache
def _compile(pattern: str) -> Any:
    return regex.compile(pattern)


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return `template` with every {group} replaced by its value.

    >>> filled("Say the word {word}.", {"word": "back"})
    'Say the word back.'
    """
    return FIELD.sub(lambda found: values[found[1]], template)


class CorpusParams(CorpusContents):
    """Which corpus, where, and what its labels mean.

    `path` is the folder DVC versions; the table and all audio lie inside it. `synthesize` is what the stage `sample`
    makes: ["sample"] for the sample corpus, [] for any other. `table` and `columns` apply to corpora that are a table
    (`delimiter` is its own where it is not found by looking, `sheet` the workbook's sheet, the first by default),
    `files` to those that are read by their file names, `calls` to recordings with turn files, `clips` to MELD (where
    its audio comes from; none: text only) and `by_plurality` to IEMOCAP (the evaluators' word: the word that an
    undecided turn gets). With `features_only` a table's row needs neither audio nor text: its features are precomputed.
    `channel` is the one that is read of recordings with several (0, 1, ..., left or right; null: all are mixed), unless
    a table's row, or a turn, names its own.
    """

    name: Literal[
        "sample", "table", "calls", "filenames", "iemocap", "meld", "emodb", "cremad", "ravdess", "tess", "savee", "esd"
    ]
    synthesize: tuple[Literal["sample"], ...]
    table: str | None = None
    columns: ColumnParams | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    sheet: str | None = None
    files: FilesParams | None = None
    calls: CallsParams | None = None
    channel: NonNegativeInt | None = None
    clips: Literal["none", "wav", "mp4"] | None = None
    by_plurality: dict[str, str] = Field(default_factory=dict)
    label_map: dict[str, str | None]

    @field_validator("channel", mode="before")
    @classmethod
    def _numbered(cls, value: object) -> object:
        return None if value is None else channel_number(value)

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
        if (self.files is not None) != (self.name in FILENAMES):
            raise ValueError(
                f"files (what file names mean) must be set for {', '.join(FILENAMES)}, and for no other corpus; "
                f"name is {self.name}"
            )
        if (self.calls is not None) != (self.name == "calls"):
            raise ValueError(
                f"calls (what turn files mean) must be set for calls, and for no other; name is {self.name}"
            )
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
    if manifest.split in ("speaker", "text") and corpus.calls is not None and corpus.calls.speakers == "per_call":
        raise ValueError(
            f"manifest.split: {manifest.split} would divide calls, whose speakers are known within a call only; set "
            "manifest.split to session, which keeps calls whole"
        )
    if manifest.split == "speaker" and corpus.name == "meld":
        raise ValueError(
            "manifest.split: speaker would leak in meld, whose joint speakers (Joey and Chandler) include the "
            "voices of others; set manifest.split to official"
        )
