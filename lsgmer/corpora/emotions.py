"""A table with the emotion of each turn of many calls, and which of its rows belongs to which turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Seconds
from lsgmer.corpora.base import Unfit, seconds_of, turn_of
from lsgmer.corpora.call_params import EmotionsTable
from lsgmer.corpora.paths import AUDIO
from lsgmer.corpora.tabular import Row, read_rows
from lsgmer.manifests.utterance import Note, RejectedRow
from lsgmer.turns.files import Entry

NEAR_S = 0.05  # how far a start in the table may be from the turn's: tables round to a tenth of a second


@dataclass(frozen=True, slots=True)
class Given:
    """One row: its name, the turn's number or start (the other is None), and the word for the emotion."""

    row: str
    turn: int | None
    start_s: Seconds | None
    emotion: str


@dataclass
class Emotions:
    """The rows by call, those that could not be read, and those that belong to no turn."""

    table: str = ""
    by_call: dict[str, list[Given]] = field(default_factory=lambda: defaultdict(list))
    rejected: list[RejectedRow] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, root: Path, given: EmotionsTable) -> Emotions:
        """Read the table in folder `root`. Raises LsgmerError if it is missing, unreadable or lacks a column."""
        path = root / given.table
        header, rows = read_rows(path)
        columns = {name: column for name, column in given.model_dump(exclude={"table"}).items() if column is not None}
        missing = [
            f"{column!r} (corpus.calls.emotions.{name})" for name, column in columns.items() if column not in header
        ]
        if missing:
            raise LsgmerError(f"{path}: no column {', '.join(missing)}; the table's columns are {', '.join(header)}")
        emotions = cls(given.table)
        for row in rows:
            try:
                emotions._add(row, columns)
            except Unfit as reason:
                emotions.rejected.append(RejectedRow(given.table, row.name, str(reason)))
        return emotions

    def _add(self, row: Row, columns: dict[str, str]) -> None:
        if row.problem:
            raise Unfit(row.problem)
        for column in columns.values():
            if column in row.faults:
                raise Unfit(row.faults[column])
        cell = {name: row.cells[column].strip() for name, column in columns.items()}
        empty = [columns[name] for name, value in cell.items() if not value and name != "emotion"]
        if empty:
            raise Unfit(f"column {empty[0]!r} is empty; it says which turn the emotion is of")
        turn = turn_of(cell.get("turn", "").removesuffix(".0") or None)
        start_s = seconds_of(cell.get("start_s"), "start_s")
        if cell["emotion"]:
            self.by_call[_call(cell["call"])].append(Given(row.name, turn, start_s, cell["emotion"]))

    def of(self, call: str, audio: str, entries: Sequence[Entry]) -> dict[int, list[str]]:
        """Return the words for the emotion by the number of the turn in its file, taking the call's rows."""
        found: dict[int, list[str]] = defaultdict(list)
        for given in self.by_call.pop(call, []):
            number = _number(given, entries)
            if number is None:
                self.loose.append(f"{given.row} ({audio})")
            else:
                found[number].append(given.emotion)
        return found

    def notes(self) -> tuple[Note, ...]:
        """Return notes of the rows that belong to no turn, or to no call that was read."""
        unknown = [f"{given.row} ({call})" for call, rows in self.by_call.items() for given in rows]
        told = {
            f"{self.table}: an emotion of no turn, or of several that start as near": self.loose,
            f"{self.table}: an emotion of a call that was not read": unknown,
        }
        return tuple(Note(what, tuple(rows)) for what, rows in told.items() if rows)


def _call(cell: str) -> str:
    """Return the name of the call that `cell` means: a path in the corpus folder, with or without its suffix."""
    path = PurePosixPath(cell.replace("\\", "/"))
    return (path.with_suffix("") if path.suffix.lower() in AUDIO else path).as_posix()


def _number(given: Given, entries: Sequence[Entry]) -> int | None:
    """Return the number of the turn that the row is about; None for no turn, or for several alike."""
    if given.turn is not None:
        return given.turn if 1 <= given.turn <= len(entries) else None
    start_s = given.start_s or 0.0
    apart = [(abs(entry.turn.start_s - start_s), entry.number) for entry in entries if entry.turn is not None]
    nearest = sorted(item for item in apart if item[0] <= NEAR_S + 1e-9)[:2]
    if not nearest or (len(nearest) == 2 and nearest[1][0] - nearest[0][0] < 1e-9):
        return None
    return nearest[0][1]
