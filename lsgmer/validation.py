"""The validate stage: Great Expectations decides which rows may be learnt from, and whether the corpus may.

A row at fault is quarantined and the run goes on. A corpus at fault (a speaker on both sides, rows missing)
stops it. The rules are in lsgmer.expectations; only this module knows Great Expectations.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsgmer.audio import AudioFacts
from lsgmer.errors import LsgmerError
from lsgmer.expectations import Row, Rule, group_rules, kept_rules, row_rules
from lsgmer.findings import EXAMPLES, SAID, Outcome, Quarantine, announce, quarantine_of, refusal, rejected_share
from lsgmer.inspection import add_reach, audio_facts, groups, to_frame
from lsgmer.manifest import (
    Finding,
    Manifest,
    ValidationReport,
    is_left_out,
    load_rejected,
    write_csv,
    write_validated,
)
from lsgmer.params import Params
from lsgmer.paths import Workspace, write_atomically
from lsgmer.profile import profile_of
from lsgmer.runtime import apply_environment, run_stage
from lsgmer.types import SPLITS, RejectedRow

if TYPE_CHECKING:
    import pandas as pd

QUARANTINE = ("id", "audio", "reasons")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What validation found: the rows that stay, those put aside, and the report."""

    kept: Manifest
    frame: pd.DataFrame
    quarantine: Quarantine
    report: ValidationReport


class Checker:
    """Great Expectations on pandas frames, in memory; its Data Docs go to `docs`, in place of earlier ones."""

    def __init__(self, docs: Path) -> None:
        apply_environment()
        import great_expectations as gx  # takes 5 to 20 s

        self._gx = gx
        shutil.rmtree(docs, ignore_errors=True)
        context = gx.get_context(mode="ephemeral")
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        for site in list(context.config.data_docs_sites or {}):
            context.delete_data_docs_site(site)
        context.add_data_docs_site("data_docs", _site(docs))
        self._context = context
        self._source = context.data_sources.add_pandas("corpus")

    def check(self, name: str, frame: pd.DataFrame, rules: Sequence[Rule]) -> list[Outcome]:
        """Put `rules` to every row of `frame`, which has a column `id`; the outcomes are in the rules' order."""
        gx, context = self._gx, self._context
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(gx.ExpectationSuite(name=name))
        suite.expectations = [_expectation(gx, rule) for rule in rules]
        suite.save()
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="data_docs", site_names=["data_docs"])],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]},
        )
        done = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
        (validated,) = done.run_results.values()
        results = {result.expectation_config.meta["name"]: result for result in validated.results}
        rows = {str(row["id"]): {str(k): v for k, v in row.items()} for row in frame.to_dict("records")}
        return [_outcome(rule, results[rule.name], rows, len(frame)) for rule in rules]


def validate(
    manifest: Manifest, facts: Mapping[str, AudioFacts], rejected: Sequence[RejectedRow], params: Params, docs: Path
) -> Verdict:
    """Put every rule to the manifest and return the verdict; Data Docs go to folder `docs`.

    `rejected` rows never made it into the manifest; those left out on purpose are no defect.
    """
    checker = Checker(docs)
    limits = params.validate_
    frame = to_frame(manifest.utterances, facts)
    rules = row_rules(limits, manifest.labels)
    if params.corpus.features_only:
        rules = tuple(rule for rule in rules if rule.name != "content_present")
    outcomes = checker.check("rows", frame, rules)
    quarantine = quarantine_of(outcomes)
    kept = replace(manifest, utterances=tuple(u for u in manifest.utterances if u.id not in quarantine))
    good = frame[~frame["id"].isin(list(quarantine))]
    if len(good):
        outcomes += checker.check("kept", add_reach(good), kept_rules(params.manifest.split))
    shares = groups(manifest, kept.utterances, params.corpus.expected_counts)
    outcomes += checker.check("groups", shares, group_rules(limits))
    defects = [row for row in rejected if not is_left_out(row)]
    total = len(manifest.utterances) + len(defects)
    lost = rejected_share(quarantine, defects, total, limits.max_rejected_share)
    report = _report(manifest, kept, rejected, outcomes, lost)
    return Verdict(kept, good, quarantine, report)


def _report(
    manifest: Manifest, kept: Manifest, rejected: Sequence[RejectedRow], outcomes: Sequence[Outcome], lost: Finding
) -> ValidationReport:
    findings = (*(outcome.finding for outcome in outcomes), lost)
    left_out = sum(map(is_left_out, rejected))
    return ValidationReport(
        passed=all(finding.success or finding.severity == "warning" for finding in findings),
        summary={
            "utterances": len(manifest.utterances),
            "kept": len(kept.utterances),
            "quarantined": len(manifest.utterances) - len(kept.utterances),
            "rejected": len(rejected) - left_out,
            "left_out": left_out,
            **{split: len(kept.of(split)) for split in SPLITS},
        },
        quarantined={o.rule.name: o.finding.unexpected for o in outcomes if o.rule.reason and o.finding.unexpected},
        expectations=findings,
        manifest_hash=manifest.content_hash,
    )


def run(workspace: Workspace, params: Params) -> None:
    """Validate data/manifest and its audio into data/validate; Data Docs go to reports/data_docs.

    Raises LsgmerError when the corpus may not be learnt from; validation.json and quarantine.csv are then in
    reports/, since DVC removes the outs of a failed stage.
    """
    source, folder = workspace.data("manifest"), workspace.data("validate")
    manifest = Manifest.load(source, params.corpus.label_set)
    rejected = load_rejected(source)
    root = workspace.root / params.corpus.path
    facts = audio_facts(manifest.utterances, root, params.validate_.processes)
    docs = workspace.reports / "data_docs"
    verdict = validate(manifest, facts, rejected, params, docs)
    announce(verdict.report, docs)
    rows = [(name, row["audio"] or "", "; ".join(reasons)) for name, (row, reasons) in verdict.quarantine.items()]
    if not verdict.report.passed:
        write_csv(workspace.reports / "quarantine.csv", QUARANTINE, rows)
        write_atomically(workspace.reports / "validation.json", verdict.report.to_json())
        raise LsgmerError(refusal(verdict.report, workspace.reports))
    for name in ("quarantine.csv", "validation.json"):
        (workspace.reports / name).unlink(missing_ok=True)  # of an earlier failure
    write_csv(folder / "quarantine.csv", QUARANTINE, rows)
    write_atomically(folder / "profile.json", profile_of(verdict.frame, manifest.labels).to_json())
    write_validated(folder, verdict.kept, facts, verdict.report)


def _site(docs: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())},
    }


def _expectation(gx: Any, rule: Rule) -> Any:
    make = getattr(gx.expectations, rule.kind)
    return make(**rule.arguments, severity=rule.severity, meta={"name": rule.name}, notes=rule.remedy)


def _outcome(rule: Rule, result: Any, rows: Mapping[str, Row], total: int) -> Outcome:
    """Return the outcome of one Great Expectations result; one that raised inside is critical."""
    raised = _raised(result.exception_info)
    offenders = _offenders(result, rows)
    named = sorted({str(row[rule.shown]) for row in offenders})
    if not result.success and not named:
        named = [raised or f"found {result.result.get('details') or result.result.get('observed_value')}"]
    finding = Finding(
        name=rule.name,
        severity="critical" if raised else rule.severity,
        success=bool(result.success),
        tested=int(result.result.get("element_count") or total) - int(result.result.get("missing_count") or 0),
        unexpected=len(offenders) or int(not result.success),
        examples=tuple(name[:SAID] for name in named[:EXAMPLES]),
        expectation=rule.kind,
        arguments=dict(rule.arguments),
        remedy=rule.remedy,
    )
    return Outcome(rule, finding, offenders)


def _raised(info: Any) -> str | None:
    """Return the message of an exception inside Great Expectations, of either of the two forms that it records."""
    entries = [info] if "raised_exception" in (info or {}) else list((info or {}).values())
    return next((str(entry["exception_message"]) for entry in entries if entry and entry["raised_exception"]), None)


def _offenders(result: Any, rows: Mapping[str, Row]) -> tuple[Row, ...]:
    found = {entry["id"] for entry in result.result.get("unexpected_index_list") or ()}
    return tuple(rows[name] for name in sorted(found))


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("validate", run)


if __name__ == "__main__":
    main()
