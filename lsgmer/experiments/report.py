"""`lsgmer experiments report`: tables and pictures of every finished cell, as Markdown that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.source import source_state
from lsgmer.core.text import markdown_table
from lsgmer.evaluation import plots
from lsgmer.experiments import curves, statistics
from lsgmer.experiments.plan import Cell, Plan, Protocol, Study
from lsgmer.experiments.results import Run, StudyResults, collect, fused_of
from lsgmer.experiments.tables import CLAIMS, REFERENCE, SHORT, Row, ece, rows_of, table
from lsgmer.experiments.timing import RunTime
from lsgmer.metrics import aurc, confusion

ALPHA = 0.05


def write(
    root: Path, plan: Plan, cells: Sequence[Cell], out: Path, picture: str, command: str, took: RunTime | None = None
) -> list[str]:
    """Write the report to `out`, and its pictures to a folder of the same name.

    Args:
        root: the project's folder.
        plan: experiments/params.yaml.
        cells: the cells to report on.
        out: the Markdown file.
        picture: png or svg.
        command: the command line that writes this report; its head shows it.
        took: how long the cells last took; its head shows it too.

    Returns:
        Notes for the user: how many cells are missing or stale, by study.

    Raises:
        LsgmerError: no study has a variant with all of its folds, or a cell cannot be read.

    """
    studies = [collect(root, plan, name, cells) for name in dict.fromkeys(cell.study for cell in cells)]
    finished = [results for results in studies if results.runs]
    if not finished:
        raise LsgmerError("no study has a variant with all of its folds; run `lsgmer experiments run` first")
    notes = [
        f"{s.name}: {s.missing} cells are missing, {s.stale} are of other settings"
        for s in studies
        if s.missing or s.stale
    ]
    parts = [_head(root, command, took, studies, notes)]
    for results in finished:
        if plan.studies[results.name].per_class is None:
            parts += _study(plan, results, out.with_suffix(""), picture)
    parts += curves.sections(plan, finished, out.with_suffix(""), picture)
    write_atomically(out, "\n\n".join(part for part in parts if part) + "\n")
    return notes


def _head(root: Path, command: str, took: RunTime | None, studies: Sequence[StudyResults], notes: Sequence[str]) -> str:
    state = source_state(root)
    code = (
        "no git" if state.commit is None else state.commit[:12] + (" with uncommitted changes" if state.dirty else "")
    )
    seconds = sum(results.seconds for results in studies)
    lines = [
        "# Results",
        f"Written by `{command}` from code {code} (source sha256 {state.source_sha256[:12]}); every number "
        f"here comes out of it. The cells took {seconds / 60:.0f} minutes of one-thread processes, training and test."
        + ("" if took is None else f" {_by_the_clock(took)}"),
        "UA is balanced accuracy, WA accuracy; ± is the standard deviation over seeds where there are several, and of "
        "folds otherwise. In brackets: 95% bootstrap intervals over test utterances, stratified by class, paired with "
        "`full`: they hold for these speakers and these trained models. p: two-sided, Holm-adjusted over the table.",
        *(["**Quick grid**: only some of the folds, variants and seeds."] if "--quick" in command else []),
        *(f"**Incomplete**: {note}." for note in notes),
    ]
    return "\n\n".join(lines)


def _by_the_clock(took: RunTime) -> str:
    return (
        f"`lsgmer experiments run` last ran {took.cells} of them, {took.jobs} side by side, in "
        f"{took.seconds / 60:.1f} minutes by the clock."
    )


def _study(plan: Plan, results: StudyResults, folder: Path, picture: str) -> list[str]:
    study = plan.studies[results.name]
    protocol = plan.sources[study.source].protocol
    rows = rows_of(results, study)
    parts = [f"## {study.title}", _protocol(results, study, protocol), table(plan, results, rows, study)]
    parts += [_claims(rows, study), _trust(results), _pictures(results, study, folder, picture)]
    return parts


def _protocol(results: StudyResults, study: Study, protocol: Protocol) -> str:
    cards = results.cards
    run = next(iter(results.runs.values()))[0]
    shared = max(card.shared_speakers for card in cards)
    counts = run.cards[0].counts
    text = (
        f"Protocol: **{protocol.title}**. {len(run.ids)} test utterances, {len(results.labels)} classes "
        f"({', '.join(results.labels)}), {len(run.cards)} fold(s); the first has {counts['train']} training and "
        f"{counts['valid']} validation utterances. Compared on {SHORT[study.metric]}. "
        f"{results.seconds / 60:.1f} minutes of one thread."
    )
    if study.normalise == "speaker":
        text += " Audio is normalised by speaker, with all of a speaker's utterances and no label."
    if shared:
        text += f" **{shared} test speakers are heard in training or validation: not speaker-independent.**"
    return text


def _claims(rows: Sequence[Row], study: Study) -> str:
    """Say for each part of the method whether leaving it out was measurably worse, better or neither."""
    reference = next((row for row in rows if row.variant == REFERENCE), None)
    if reference is None:
        return ""
    lines = []
    for row in rows:
        if row.variant not in CLAIMS or row.gap is None or row.p_holm is None:
            continue
        gain = -row.gap.interval.value
        verdict = "no measurable difference" if row.p_holm >= ALPHA else "helps" if gain > 0 else "hurts"
        eces = [float(np.mean([ece(run) for run in found.runs])) for found in (reference, row)]
        line = f"- {CLAIMS[row.variant]}: {gain:+.3f} {SHORT[study.metric]}, **{verdict}** (p {row.p_holm:.3f})"
        line += f"; ECE {eces[0]:.3f} with it, {eces[1]:.3f} without"
        if len(row.runs) > 1 and len(reference.runs) > 1:
            with_it, without = (_deviation(found.runs, study.metric) for found in (reference, row))
            line += f"; deviation over {len(row.runs)} seeds {with_it:.4f} with it, {without:.4f} without"
        lines.append(line + ".")
    return "\n".join(["### Does each part pay?\n", *lines]) if lines else ""


def _deviation(runs: Sequence[Run], metric: str) -> float:
    labels = runs[0].probabilities.shape[1]
    return statistics.spread([statistics.score(run.truth, run.guess, labels, metric) for run in runs])[1] or 0.0


def _trust(results: StudyResults) -> str:
    """Compare consistency with plain confidence as a trust score: AURC, lower is better."""
    lines = []
    for variant, runs in results.runs.items():
        if np.isnan(runs[0].consistency).any():
            continue
        gaps = [_aurc(run, "consistency") - _aurc(run, "probability") for run in runs]
        cells = [f"{np.mean([_aurc(run, score) for run in runs]):.4f}" for score in ("consistency", "probability")]
        lines.append((variant, *cells, f"{np.mean(gaps):+.4f}"))
    if not lines:
        return ""
    header = ("variant", "AURC by consistency", "AURC by largest probability", "difference")
    return "### Does the consistency score know when it is wrong?\n\n" + markdown_table(header, lines)


def _aurc(run: Run, score: str) -> float:
    values = run.consistency if score == "consistency" else run.probabilities.max(1)
    return aurc(run.guess == run.truth, values)


def _by_member(history: Sequence[dict[str, float]]) -> list[list[dict[str, float]]]:
    """Return the rows of each member of an ensemble; of a single model, all rows."""
    members = sorted({row.get("member", 0.0) for row in history})
    return [[row for row in history if row.get("member", 0.0) == member] for member in members]


def _pictures(results: StudyResults, study: Study, folder: Path, picture: str) -> str:
    """Draw the reference variant: confusion, learning curves, trust, and fused features with label embeddings."""
    runs = results.runs.get(REFERENCE)
    if runs is None:
        return ""
    paths = {what: folder / f"{results.name}-{what}.{picture}" for what in ("confusion", "curves", "trust", "space")}
    counts = np.sum([confusion(run.truth, run.guess, len(results.labels)) for run in runs], axis=0)
    plots.confusion_matrix(paths["confusion"], counts, results.labels, f"{study.title}: full")
    curves_of_all = [rows for run in runs for card in run.cards for rows in _by_member(card.history)]
    plots.learning_curves(paths["curves"], curves_of_all, f"{results.name}: full")
    known = {"probability": runs[0].probabilities.max(1), "consistency": runs[0].consistency}
    plots.risk_by_coverage(paths["trust"], runs[0].guess == runs[0].truth, known, f"{results.name}: full, first seed")
    if (space := fused_of(results, REFERENCE)) is not None:
        plots.label_space(paths["space"], *space, results.labels, f"{results.name}: full, first fold and seed")
    else:
        del paths["space"]
    return "\n".join(f"![{results.name} {what}]({folder.name}/{path.name})" for what, path in paths.items())
