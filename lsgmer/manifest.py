"""The manifest stage: a corpus becomes Utterances with splits. And ValidatedManifest, what validation let through."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lsgmer.audio import AudioFacts
from lsgmer.corpora import read_corpus
from lsgmer.corpora.labels import LEFT_OUT
from lsgmer.errors import LsgmerError
from lsgmer.lineage import file_sha256
from lsgmer.params import Params
from lsgmer.paths import Workspace, write_atomically
from lsgmer.rows import read_rows, write_rows
from lsgmer.runtime import run_stage
from lsgmer.splits import assign_splits, demand_every_split
from lsgmer.types import (
    SPLITS,
    CorpusReading,
    Labels,
    Note,
    Record,
    RejectedRow,
    Seconds,
    Split,
    Utterance,
    canonical_json,
    digest,
)

SHOWN = 5  # reasons, and rows of a note, that the log repeats


class Finding(Record):
    """One expectation's outcome: how many rows it was put to, how many broke it, and a few of them by name."""

    name: str
    severity: Literal["critical", "warning"]
    success: bool
    tested: int
    unexpected: int
    examples: tuple[str, ...]
    expectation: str
    arguments: dict[str, Any]
    remedy: str


class ValidationReport(Record):
    """validation.json: the verdict with every expectation; `validated_sha256` is None where it did not pass.

    `quarantined` counts rows by the expectation that they broke (a row may break several).
    """

    format: Literal["lsgmer-validation/1"] = "lsgmer-validation/1"
    passed: bool
    summary: dict[str, int]
    quarantined: dict[str, int]
    expectations: tuple[Finding, ...]
    manifest_hash: str
    validated_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every usable utterance of a corpus, sorted by id, each with its split."""

    utterances: tuple[Utterance, ...]
    labels: Labels
    corpus: str

    @property
    def content_hash(self) -> str:
        """sha256 over the canonical rows, the labels in their order, and the corpus's name."""
        rows = [asdict(utterance) for utterance in self.utterances]
        return digest({"rows": rows, "labels": self.labels.model_dump(), "corpus": self.corpus})

    def save(self, folder: Path, rejected: Sequence[RejectedRow] = (), notes: Sequence[Note] = ()) -> None:
        """Write manifest.parquet, rejected.csv and manifest.json, which names every row of `notes`, into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / "manifest.parquet", self.utterances, self._metadata())
        rows = [(row.source, row.row, row.reason) for row in rejected]
        write_csv(folder / "rejected.csv", ("source", "row", "reason"), rows)
        told = {note.what: note.rows for note in notes}
        card = {"corpus": self.corpus, "content_hash": self.content_hash, **self.counts(rejected), "notes": told}
        write_atomically(folder / "manifest.json", canonical_json(card) + "\n")

    @classmethod
    def load(cls, folder: Path, expected: Labels | None = None) -> Manifest:
        """Read what `save` wrote.

        Raises LsgmerError when a file is missing, its rows or labels are not those that were hashed, or its
        labels are not the `expected` ones in their order.
        """
        path = folder / "manifest.parquet"
        remedy = "run `dvc repro manifest` to make it anew"
        utterances, _, metadata = read_rows(path, remedy)
        manifest = cls(utterances, _labels(metadata, path, remedy), metadata["corpus"])
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


@dataclass(frozen=True, slots=True)
class ValidatedManifest:
    """What validation let through. `sha256` is of validated.parquet; `durations` holds every id with audio."""

    utterances: tuple[Utterance, ...]
    labels: Labels
    corpus: str
    sha256: str
    durations: dict[str, Seconds]

    @classmethod
    def load(cls, folder: Path, expected: Labels | None = None) -> ValidatedManifest:
        """Read validated.parquet from `folder` and check it against validation.json.

        Raises LsgmerError when a file is missing, validation did not pass, a byte has changed since, or the
        labels are not the `expected` ones in their order.
        """
        path, verdict = folder / "validated.parquet", folder / "validation.json"
        remedy = "run `dvc repro validate` to make it anew"
        try:
            report = ValidationReport.model_validate_json(verdict.read_bytes())
        except (OSError, ValueError) as error:
            raise LsgmerError(f"{verdict}: no readable verdict of validation ({error}); {remedy}") from None
        if not report.passed:
            raise LsgmerError(f"{verdict}: validation did not pass; mend the data as it says, then {remedy}")
        sha256 = file_sha256(path) if path.is_file() else "missing"
        if sha256 != report.validated_sha256:
            raise LsgmerError(
                f"{path}: its sha256 is {sha256[:12]}, validation let {str(report.validated_sha256)[:12]} "
                f"through: it was changed since; {remedy}"
            )
        utterances, facts, metadata = read_rows(path, remedy)
        labels = _labels(metadata, path, remedy)
        demand_labels(labels, expected, path)
        durations = {name: fact.duration_s for name, fact in facts.items() if fact.duration_s is not None}
        return cls(utterances, labels, metadata["corpus"], sha256, durations)


def write_validated(
    folder: Path, manifest: Manifest, facts: Mapping[str, AudioFacts], report: ValidationReport
) -> ValidationReport:
    """Write validated.parquet and validation.json; return the report with the file's sha256.

    Only `lsgmer.validation` calls this. Raises LsgmerError for a report that did not pass.
    """
    if not report.passed:
        raise LsgmerError("a manifest that did not pass validation must not become a validated one")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "validated.parquet"
    write_rows(path, manifest.utterances, manifest._metadata(), facts)
    report = report.model_copy(update={"validated_sha256": file_sha256(path)})
    write_atomically(folder / "validation.json", report.to_json())
    return report


def load_rejected(folder: Path) -> tuple[RejectedRow, ...]:
    """Read rejected.csv, every row of it. Raises LsgmerError when it is missing or has other columns."""
    path = folder / "rejected.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(RejectedRow(**row) for row in csv.DictReader(file))
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise LsgmerError(f"{path}: not readable ({error}); run `dvc repro manifest` to make it anew") from None


def is_left_out(row: RejectedRow) -> bool:
    """Say whether corpus.label_map leaves the row out on purpose, so that it is no defect of the corpus."""
    return row.reason.endswith(LEFT_OUT)


def demand_labels(found: Labels, expected: Labels | None, source: Path) -> None:
    """Raise LsgmerError unless `found` are the `expected` labels, in the same order and words."""
    if expected is not None and found != expected:
        raise LsgmerError(
            f"{source}: its labels are {list(found.names)}, corpus.labels says {list(expected.names)} "
            "(order and descriptions count); run `dvc repro manifest` after a change of labels"
        )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV atomically, with the same line ends on every machine."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def run(workspace: Workspace, params: Params) -> None:
    """Read the corpus, give every utterance its split, and write data/manifest."""
    reading = read_corpus(params.corpus, workspace.root / params.corpus.path)
    utterances = assign_splits(sorted(reading.utterances, key=lambda u: u.id), params.manifest)
    demand_every_split(utterances, params.manifest)
    write(workspace, params, utterances, reading)


def write(workspace: Workspace, params: Params, utterances: tuple[Utterance, ...], reading: CorpusReading) -> None:
    """Write data/manifest from `utterances`, each with its split, and say what `reading` left out or mended."""
    manifest = Manifest(utterances, params.corpus.label_set, params.corpus.name)
    manifest.save(workspace.data("manifest"), reading.rejected, reading.notes)
    splits = ", ".join(f"{count} {split}" for split, count in manifest.counts()["splits"].items())
    print(f"manifest: {len(utterances)} utterances ({splits}), {len(reading.rejected)} rejected", flush=True)
    for reason, count in Counter(row.reason for row in reading.rejected).most_common(SHOWN):
        print(f"manifest:   rejected {count} x {reason}", flush=True)
    for note in reading.notes:
        named = ", ".join(note.rows[:SHOWN]) + (", ..." if len(note.rows) > SHOWN else "")
        print(f"manifest:   note: {len(note.rows)} x {note.what}: {named}", flush=True)


def _labels(metadata: Mapping[str, str], path: Path, remedy: str) -> Labels:
    try:
        return Labels.model_validate_json(metadata["labels"])
    except (KeyError, ValueError) as error:
        raise LsgmerError(f"{path}: its schema metadata holds no labels ({error}); {remedy}") from None


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("manifest", run)


if __name__ == "__main__":
    main()
