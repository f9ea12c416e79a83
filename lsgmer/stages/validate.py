"""Stage `validate`: faulty rows are quarantined and the run continues; a faulty corpus stops the run."""

from __future__ import annotations

from lsgmer.core.cluster import ClusterParams
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.stage import run_stage
from lsgmer.core.workers import connected
from lsgmer.manifests.manifest import Manifest, load_rejected, write_csv
from lsgmer.manifests.validated import write_validated
from lsgmer.validation.checker import validate
from lsgmer.validation.facts import audio_facts
from lsgmer.validation.params import ValidationSections
from lsgmer.validation.profile import profile_of
from lsgmer.validation.report import (
    announce,
    cut_of,
    refusal_message,
)

QUARANTINE = ("id", "audio", "cut", "reasons")

Needs = ValidationSections


def run(workspace: Workspace, params: Needs) -> None:
    """Validate data/manifest and its audio into data/validate; Data Docs go to reports/data_docs.

    Raises LsgmerError when the corpus failed validation; validation.json and quarantine.csv are then in
    reports/, since DVC removes the outs of a failed stage.
    """
    source, folder = workspace.data("manifest"), workspace.data("validate")
    manifest = Manifest.load(source, params.corpus.label_set)
    rejected = load_rejected(source)
    root = workspace.root / params.corpus.path
    any_audio = any(utterance.audio for utterance in manifest.utterances)
    with connected(params.runtime if any_audio else ClusterParams(), workspace.scratch) as cluster:
        facts = audio_facts(manifest.utterances, root, params.validate_.processes, cluster)
    docs = workspace.reports / "data_docs"
    verdict = validate(manifest, facts, rejected, params, docs)
    announce(verdict.report, docs)
    rows = [
        (name, row["audio"] or "", cut_of(row), "; ".join(reasons))
        for name, (row, reasons) in verdict.quarantine.items()
    ]
    if not verdict.report.passed:
        write_csv(workspace.reports / "quarantine.csv", QUARANTINE, rows)
        write_atomically(workspace.reports / "validation.json", verdict.report.to_json())
        raise LsgmerError(refusal_message(verdict.report, workspace.reports))
    for name in ("quarantine.csv", "validation.json"):
        (workspace.reports / name).unlink(missing_ok=True)  # left by an earlier failure
    write_csv(folder / "quarantine.csv", QUARANTINE, rows)
    write_atomically(folder / "profile.json", profile_of(verdict.frame, manifest.labels).to_json())
    write_validated(folder, verdict.kept, facts, verdict.report)


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("validate", run, Needs)


if __name__ == "__main__":
    main()
