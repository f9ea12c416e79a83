"""Run the data checks: Great Expectations decides which rows, and whether the corpus, can be used for training.

The rules are in lsgmer.validation.rules; only this module imports Great Expectations.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsgmer.audio import AudioFacts
from lsgmer.core.process import apply_environment
from lsgmer.core.records import SPLITS
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.utterance import RejectedRow, is_left_out
from lsgmer.manifests.validated import Finding, ValidationReport
from lsgmer.validation.frame import add_reach, groups, to_frame
from lsgmer.validation.params import ValidationSections
from lsgmer.validation.report import (
    EXAMPLES,
    SAID,
    Outcome,
    Quarantine,
    named,
    quarantine_of,
    rejected_share,
)
from lsgmer.validation.rules import Row, Rule, group_rules, kept_rules, row_rules

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Checked:
    """What validation found: the rows kept, the rows quarantined, and the report."""

    kept: Manifest
    frame: pd.DataFrame
    quarantine: Quarantine
    report: ValidationReport


class Checker:
    """Great Expectations on pandas frames, in memory; its Data Docs go to `docs` and replace earlier ones."""

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
        """Check every row of `frame`, which has a column `id`, against `rules`; return outcomes in the rules' order."""
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
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [name for name in ("id", "recording") if name in frame],
            },
        )
        done = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
        (validated,) = done.run_results.values()
        results = {result.expectation_config.meta["name"]: result for result in validated.results}
        rows = {str(row["id"]): {str(k): v for k, v in row.items()} for row in frame.to_dict("records")}
        return [_outcome(rule, results[rule.name], rows, len(frame)) for rule in rules]


def validate(
    manifest: Manifest,
    facts: Mapping[str, AudioFacts],
    rejected: Sequence[RejectedRow],
    params: ValidationSections,
    docs: Path,
) -> Checked:
    """Check the manifest against every rule and return the verdict.

    Args:
        manifest: every usable row, with its split.
        facts: the audio facts, by utterance id.
        rejected: rows that are not in the manifest; those left out on purpose do not count as defects.
        params: the limits, the kind of split and what the corpus must contain.
        docs: the folder for Data Docs; earlier ones are replaced.

    Returns:
        The rows kept, the rows quarantined, and the report. A corpus that fails is not an exception here:
        see `report.passed`.

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
    return Checked(kept, good, quarantine, report)


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
    """Return the outcome of one Great Expectations result; an expectation that raised an exception is critical."""
    raised = _raised(result.exception_info)
    offenders = _offenders(result, rows)
    examples = sorted({named(row) if rule.shown == "id" else str(row[rule.shown]) for row in offenders})
    if not result.success and not examples:
        examples = [raised or f"found {result.result.get('details') or result.result.get('observed_value')}"]
    finding = Finding(
        name=rule.name,
        severity="critical" if raised else rule.severity,
        success=bool(result.success),
        tested=int(result.result.get("element_count") or total) - int(result.result.get("missing_count") or 0),
        unexpected=len(offenders) or int(not result.success),
        examples=tuple(name[:SAID] for name in examples[:EXAMPLES]),
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
