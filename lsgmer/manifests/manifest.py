"""The manifest: every usable utterance of a corpus with its split, and the rows that were rejected."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.records import SPLITS, Labels, Split, canonical_json, digest
from lsgmer.manifests.parquet import CHANNEL, read_utterances, write_utterances
from lsgmer.manifests.utterance import Note, RejectedRow, Utterance, is_left_out

SHOWN = 5  # how many reasons, and rows of a note, the log shows


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every usable utterance of a corpus, sorted by id, each with its split."""

    utterances: tuple[Utterance, ...]
    labels: Labels
    corpus: str

    @property
    def content_hash(self) -> str:
        """sha256 over the canonical rows, the labels in their order, and the corpus's name."""
        rows = [_canonical(utterance) for utterance in self.utterances]
        return digest({"rows": rows, "labels": self.labels.model_dump(), "corpus": self.corpus})

    def save(self, folder: Path, rejected: Sequence[RejectedRow] = (), notes: Sequence[Note] = ()) -> None:
        """Write manifest.parquet, rejected.csv and manifest.json (with every row of `notes`) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_utterances(folder / "manifest.parquet", self.utterances, self._metadata())
        rows = [(row.source, row.row, row.reason) for row in rejected]
        write_csv(folder / "rejected.csv", ("source", "row", "reason"), rows)
        told = {note.what: note.rows for note in notes}
        card = {"corpus": self.corpus, "content_hash": self.content_hash, **self.counts(rejected), "notes": told}
        write_atomically(folder / "manifest.json", canonical_json(card) + "\n")

    @classmethod
    def load(cls, folder: Path, expected: Labels | None = None) -> Manifest:
        """Read what `save` wrote.

        Raises LsgmerError when a file is missing, its rows or labels do not match its content hash, or
        its labels are not the `expected` ones in their order.
        """
        path = folder / "manifest.parquet"
        remedy = "run `dvc repro manifest` to make it again"
        utterances, _, metadata = read_utterances(path, remedy)
        manifest = cls(utterances, read_labels(metadata, path, remedy), metadata["corpus"])
        if manifest.content_hash != metadata["content_hash"]:
            raise LsgmerError(f"{path}: its rows do not match its content hash; {remedy}")
        demand_labels(manifest.labels, expected, path)
        return manifest

    def counts(self, rejected: Sequence[RejectedRow] = ()) -> dict[str, Any]:
        """Return utterances, and rows per split, per split and label, and per reason of rejection."""
        by_label = {
            split: {name: 0 for name in self.labels.names} | Counter(u.emotion for u in self.of(split))
            for split in SPLITS
        }
        return {
            "utterances": len(self.utterances),
            "splits": {split: len(self.of(split)) for split in SPLITS},
            "labels": by_label,
            "speakers": {split: len({u.speaker for u in self.of(split)}) for split in SPLITS},
            "rejected": len(rejected),
            "left_out": sum(is_left_out(row) for row in rejected),
            "reasons": dict(Counter(row.reason for row in rejected)),
        }

    def of(self, split: Split) -> list[Utterance]:
        """Return the utterances of `split`, in order."""
        return [utterance for utterance in self.utterances if utterance.split == split]

    def _metadata(self) -> dict[str, str]:
        labels = canonical_json(self.labels.model_dump())
        return {"corpus": self.corpus, "labels": labels, "content_hash": self.content_hash}


def _canonical(utterance: Utterance) -> dict[str, Any]:
    """Return the row that is hashed: without a channel it is that of manifests which know of none."""
    row = utterance.as_row()
    return row if utterance.channel is not None else {name: row[name] for name in row if name != CHANNEL.name}


def load_rejected(folder: Path) -> tuple[RejectedRow, ...]:
    """Read rejected.csv, every row of it. Raises LsgmerError when it is missing or has other columns."""
    path = folder / "rejected.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(RejectedRow(**row) for row in csv.DictReader(file))
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise LsgmerError(f"{path}: not readable ({error}); run `dvc repro manifest` to make it again") from None


def demand_labels(found: Labels, expected: Labels | None, source: Path) -> None:
    """Raise LsgmerError unless `found` are the `expected` labels, in the same order and with the same descriptions."""
    if expected is not None and found != expected:
        raise LsgmerError(
            f"{source}: its labels are {list(found.names)}, corpus.labels says {list(expected.names)} "
            "(order and descriptions matter); run `dvc repro manifest` after a change of labels"
        )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV atomically, with the same line endings on every machine."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def read_labels(metadata: Mapping[str, str], path: Path, remedy: str) -> Labels:
    """Return the labels in the schema metadata of the Parquet file at `path`. Raises LsgmerError."""
    try:
        return Labels.model_validate_json(metadata["labels"])
    except (KeyError, ValueError) as error:
        raise LsgmerError(f"{path}: its schema metadata holds no labels ({error}); {remedy}") from None
