"""The table of a study: a row per variant, compared with the full model, and the mean of several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lsgmer.core.text import markdown_table
from lsgmer.experiments import statistics
from lsgmer.experiments.plan import Plan, Study
from lsgmer.experiments.results import Run, StudyResults
from lsgmer.metrics import expected_calibration_error, interval_text

Array = np.ndarray[Any, Any]
REFERENCE = "full"
RESAMPLES, SEED, BINS = 2000, 0, 10
SHORT = {"balanced_accuracy": "UA", "weighted_f1": "weighted F1", "accuracy": "WA"}
CLAIMS = {
    "without_lse": "Label signal enhancement (LSE)",
    "without_ma": "The moving average of the label embeddings (MA)",
    "without_apc": "Attribution-prediction consistency (APC)",
    "random_labels": "Starting the label embeddings from their descriptions",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in a study's table; `gap` is against the reference, with Holm's p over the table.

    With `averaged`, its only run is the mean of that many seeds' probabilities; this row is not tested.
    """

    variant: str
    runs: tuple[Run, ...]
    gap: statistics.Difference | None = None
    p_holm: float | None = None
    averaged: int = 0


def rows_of(results: StudyResults, study: Study) -> list[Row]:
    """Return a row per variant, in the order of the cells; each but the reference is compared with it.

    A row of its seeds' mean follows a variant that trains a network with several seeds.
    """
    reference = results.runs.get(REFERENCE, ())
    drawn = draw_of(reference) if reference else None

    def gap(runs: Sequence[Run]) -> statistics.Difference | None:
        return None if drawn is None else difference_of(drawn, runs, reference, study.metric)

    gaps = {variant: found for variant, runs in results.runs.items() if variant != REFERENCE and (found := gap(runs))}
    adjusted = dict(zip(gaps, statistics.holm([found.p for found in gaps.values()]), strict=True))
    rows = []
    for variant, runs in results.runs.items():
        rows.append(Row(variant, runs, gaps.get(variant), adjusted.get(variant)))
        if len(runs) > 1 and runs[0].cards[0].parameters:
            mean = (averaged(runs),)
            rows.append(Row(variant, mean, gap(mean), averaged=len(runs)))
    return rows


def averaged(runs: Sequence[Run]) -> Run:
    """Return an ensemble's answers: the probabilities averaged over `runs`, of the same utterances, per utterance."""
    probabilities = np.mean([run.probabilities for run in runs], axis=0)
    return replace(runs[0], probabilities=probabilities, consistency=np.full(len(probabilities), np.nan))


def draw_of(runs: Sequence[Run]) -> Array:
    """Return the bootstrap draw (R, N) that all comparisons on these utterances share."""
    return statistics.draw(runs[0].truth, RESAMPLES, SEED)


def difference_of(drawn: Array, ours: Sequence[Run], theirs: Sequence[Run], metric: str) -> statistics.Difference:
    """Return the mean `metric` over the seeds of `ours` minus that of `theirs`, in the bootstrap samples `drawn`."""
    labels = ours[0].probabilities.shape[1]
    our_guesses, their_guesses = ([run.guess for run in runs] for runs in (ours, theirs))
    return statistics.difference(drawn, ours[0].truth, our_guesses, their_guesses, labels, metric)


def table(plan: Plan, results: StudyResults, rows: Sequence[Row], study: Study) -> str:
    """Return a study's table as Markdown."""
    count = len(results.labels)
    against = f"{SHORT[study.metric]} minus full"
    header = ("variant", "seeds", "UA", "WA", "weighted F1", "ECE", against, "p")
    lines = []
    for row in rows:
        title = plan.variants[row.variant].title
        cells = [f"{title}, mean of {row.averaged} seeds" if row.averaged else title]
        cells.append(str(row.averaged or len(row.runs)))
        cells += [spread(row.runs, metric, count) for metric in ("balanced_accuracy", "accuracy", "weighted_f1")]
        cells.append(f"{np.mean([ece(run) for run in row.runs]):.3f}")
        cells.append("" if row.gap is None else interval_text(row.gap.interval, "+"))
        cells.append("" if row.p_holm is None else f"{row.p_holm:.3f}")
        lines.append(tuple(cells))
    return markdown_table(header, lines)


def spread(runs: Sequence[Run], metric: str, labels: int) -> str:
    """Return "mean ± sd": over seeds; with a single one over folds, if there are several."""
    values = [statistics.score(run.truth, run.guess, labels, metric) for run in runs]
    mean, deviation = statistics.spread(values)
    folds = np.unique(runs[0].fold)
    if deviation is None and len(folds) > 1:
        run = runs[0]
        parts = [(run.truth[run.fold == fold], run.guess[run.fold == fold]) for fold in folds]
        deviation = statistics.spread([statistics.score(*part, labels, metric) for part in parts])[1]
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def ece(run: Run) -> float:
    """Return the expected calibration error of a run."""
    return expected_calibration_error(run.truth, run.probabilities, BINS)
