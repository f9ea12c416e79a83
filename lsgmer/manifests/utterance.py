"""One utterance, and what a corpus reader returns: rows kept, rows rejected with their reason, notes on repairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lsgmer.core.records import Seconds, Split


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech, its words, or both, with its label.

    `audio` is relative to the corpus folder; `start_s`/`end_s` cut it, and `channel` is the one of
    several, from 0, that holds the utterance (None: all are mixed). `emotion_raw` is the corpus's
    word, `emotion` a name in `Labels`. `split` is None until the manifest assigns one, unless the
    corpus itself gives it.
    """

    id: str
    corpus: str
    speaker: str
    emotion_raw: str
    emotion: str
    split: Split | None = None
    session: str | None = None
    dialogue: str | None = None
    turn: int | None = None
    sex: str | None = None
    audio: str | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    channel: int | None = None

    def as_row(self) -> dict[str, Any]:
        """Return the fields by name, not copied: `asdict` copies deeply, which took half of a manifest's time."""
        return {name: getattr(self, name) for name in FIELDS}


FIELDS = tuple(each.name for each in fields(Utterance))


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that could not be read or used: where it is, and why."""

    source: str
    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """What was done about a fault in rows that were read all the same, and in which rows."""

    what: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CorpusReading:
    """What a corpus reader returns: every row is in exactly one of the first two, and `notes` report repairs."""

    utterances: tuple[Utterance, ...]
    rejected: tuple[RejectedRow, ...]
    notes: tuple[Note, ...] = ()


# These end the reason of every row left out on purpose.
LEFT_OUT = "is left out by corpus.label_map"
LEFT_OUT_CODE = "is left out by corpus.files.codes"


def is_left_out(row: RejectedRow) -> bool:
    """Return whether the parameters leave the row out on purpose, which is not a defect of the corpus."""
    return row.reason.endswith((LEFT_OUT, LEFT_OUT_CODE))
