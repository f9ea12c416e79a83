"""ValidatedManifest: the rows that passed validation, and the only form in which data reaches the encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lsgmer.audio import AudioFacts
from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import write_atomically
from lsgmer.core.records import Labels, Record, Seconds, read_record
from lsgmer.manifests.manifest import Manifest, demand_labels, read_labels
from lsgmer.manifests.parquet import read_utterances, write_utterances
from lsgmer.manifests.utterance import Utterance


class Finding(Record):
    """One expectation's outcome: how many rows it tested, how many broke it, and the names of a few of those."""

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
class ValidatedManifest:
    """The rows that passed validation. `sha256` is of validated.parquet; `durations` holds every id with audio.

    `sounds` holds the sha256 of the decoded samples of every id with audio: equal audio has equal features.
    """

    utterances: tuple[Utterance, ...]
    labels: Labels
    corpus: str
    sha256: str
    durations: dict[str, Seconds]
    sounds: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, expected: Labels | None = None) -> ValidatedManifest:
        """Read validated.parquet from `folder` and check it against validation.json.

        Raises LsgmerError when a file is missing, validation did not pass, a byte has changed since, or the
        labels are not the `expected` ones in their order.
        """
        path, verdict = folder / "validated.parquet", folder / "validation.json"
        remedy = "run `dvc repro validate` to make it again"
        report = read_record(verdict, ValidationReport, remedy)
        if not report.passed:
            raise LsgmerError(f"{verdict}: validation did not pass; fix the data as it says, then {remedy}")
        sha256 = file_sha256(path) if path.is_file() else "missing"
        if sha256 != report.validated_sha256:
            raise LsgmerError(
                f"{path}: its sha256 is {sha256[:12]}, but validation wrote {str(report.validated_sha256)[:12]}: "
                f"it has changed since; {remedy}"
            )
        utterances, facts, metadata = read_utterances(path, remedy)
        labels = read_labels(metadata, path, remedy)
        demand_labels(labels, expected, path)
        durations = {name: fact.duration_s for name, fact in facts.items() if fact.duration_s is not None}
        sounds = {name: fact.sha256 for name, fact in facts.items() if fact.sha256 is not None}
        return cls(utterances, labels, metadata["corpus"], sha256, durations, sounds)


def write_validated(
    folder: Path, manifest: Manifest, facts: Mapping[str, AudioFacts], report: ValidationReport
) -> ValidationReport:
    """Write validated.parquet and validation.json; return the report with the file's sha256.

    Only the stage `validate` calls this. Raises LsgmerError for a report that did not pass.
    """
    if not report.passed:
        raise LsgmerError("a manifest that did not pass validation cannot be written as a validated one")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "validated.parquet"
    write_utterances(path, manifest.utterances, manifest._metadata(), facts)
    report = report.model_copy(update={"validated_sha256": file_sha256(path)})
    write_atomically(folder / "validation.json", report.to_json())
    return report
