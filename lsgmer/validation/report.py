"""The outcome of the expectations, in a form for people: quarantine, messages, the share of rows lost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsgmer.core.records import SPLITS
from lsgmer.core.text import cut_text
from lsgmer.manifests.utterance import RejectedRow
from lsgmer.manifests.validated import Finding, ValidationReport
from lsgmer.validation.rules import Row, Rule

EXAMPLES = 5  # how many offenders a finding names
SAID = 120  # how many characters of an example a message quotes
Quarantine = dict[str, tuple[Row, list[str]]]  # by id: the row and every reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rule, what came of it, and the rows that broke it."""

    rule: Rule
    finding: Finding
    offenders: tuple[Row, ...]


def named(row: Row) -> str:
    """Return how messages name a row: its id and, where it is cut out of a recording, which and when.

    >>> named({"id": "c1@12.400/agent", "recording": "c1.flac 00:12.40-00:15.10", "start_s": 12.4, "end_s": 15.1})
    'c1@12.400/agent [c1.flac 00:12.40-00:15.10]'
    >>> named({"id": "label sad"})
    'label sad'
    """
    return f"{row['id']} [{row['recording']}]" if cut_of(row) else str(row["id"])


def cut_of(row: Row) -> str:
    """Return the times of the row's cut as people read them; "" for a whole recording, and without audio."""
    times = [row.get(name) for name in ("start_s", "end_s")]
    start_s, end_s = (None if time is None or math.isnan(time) else float(time) for time in times)
    return cut_text(start_s, end_s)


def quarantine_of(outcomes: Sequence[Outcome]) -> Quarantine:
    """Return each row that breaks a rule about rows, with a reason per rule, sorted by id."""
    found: Quarantine = {}
    for outcome in outcomes:
        for row in outcome.offenders if outcome.rule.reason else ():
            assert outcome.rule.reason is not None  # noqa: S101 - for mypy
            found.setdefault(row["id"], (row, []))[1].append(outcome.rule.reason(row))
    return dict(sorted(found.items()))


def rejected_share(put_aside: Quarantine, rejected: Sequence[RejectedRow], total: int, most: float) -> Finding:
    """Return the finding that at most the share `most` of `total` rows was quarantined, or `rejected` on reading.

    Its examples start with the rows that have the most reasons.
    """
    lost = len(put_aside) + len(rejected)
    worst = sorted(put_aside.items(), key=lambda item: (-len(item[1][1]), item[0]))
    lines = [f"{named(row)} ({'; '.join(reasons)})" for _, (row, reasons) in worst]
    lines += [f"{row.source} {row.row} ({row.reason})" for row in rejected]
    return Finding(
        name="rejected_share",
        severity="critical",
        success=lost <= most * total,
        tested=total,
        unexpected=lost,
        examples=tuple(example[:SAID] for example in lines[:EXAMPLES]),
        expectation="share of rows quarantined or rejected",
        arguments={"max_value": most},
        remedy="mend the rows in quarantine.csv and data/manifest/rejected.csv, or raise validate.max_rejected_share",
    )


def announce(report: ValidationReport, docs: Path) -> None:
    """Print what was kept, what was quarantined and what to look at."""
    summary = report.summary
    splits = ", ".join(f"{summary[split]} {split}" for split in SPLITS)
    print(f"validate: {summary['kept']} of {summary['utterances']} utterances kept ({splits})", flush=True)
    for reason, count in Counter(report.quarantined).most_common():
        print(f"validate:   quarantined {count} x {reason}", flush=True)
    for finding in report.expectations:
        if not finding.success and finding.name not in report.quarantined:
            named = f"{finding.unexpected}, such as {', '.join(finding.examples)}"
            print(f"validate:   {finding.severity} {finding.name}: {named}; {finding.remedy}", flush=True)
    print(f"validate: Data Docs in {docs / 'index.html'}", flush=True)


def refusal_message(report: ValidationReport, reports: Path) -> str:
    """Return the message for a corpus that failed: every critical finding, the rows it names, what to do."""
    broken = [finding for finding in report.expectations if finding.severity == "critical" and not finding.success]
    lines = [
        f"\n  {finding.name}: {finding.unexpected} of {finding.tested} rows, such as {', '.join(finding.examples)}"
        f"; {finding.remedy}"
        for finding in broken
    ]
    return (
        f"the corpus failed validation and cannot be used for training:{''.join(lines)}\n"
        f"Every finding is in {reports / 'validation.json'}"
    )
