"""Learning curves: what each variant reaches with few training utterances per class, and what each part then gains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.core.text import markdown_table
from lsgmer.evaluation import plots
from lsgmer.experiments import statistics
from lsgmer.experiments.plan import Plan, Study
from lsgmer.experiments.results import Run, StudyResults
from lsgmer.experiments.tables import CLAIMS, REFERENCE, SHORT, difference_of, draw_of, spread
from lsgmer.metrics import interval_text

ALL = "all"
ZeroShot = tuple[str, tuple[Run, ...]]  # its variant, and a run per seed: all alike


def sections(plan: Plan, finished: Sequence[StudyResults], folder: Path, picture: str) -> list[str]:
    """Return the report's section of each curve that has a study of few utterances, and draw it in `folder`.

    Raises LsgmerError when the studies of a curve were tested on different utterances.
    """
    names = dict.fromkeys(s.curve for r in finished if (s := plan.studies[r.name]).per_class is not None and s.curve)
    parts: list[str] = []
    for name in names:
        of_curve = [results for results in finished if plan.studies[results.name].curve == name]
        parts += _section(plan, name, sorted(of_curve, key=lambda r: _order(plan.studies[r.name])), folder, picture)
    return parts


def _section(plan: Plan, curve: str, sizes: Sequence[StudyResults], folder: Path, picture: str) -> list[str]:
    tested = {runs[0].ids for results in sizes for runs in results.runs.values()}
    if len(tested) > 1:
        raise LsgmerError(f"curve {curve}: its studies were tested on different utterances; give them the same folds")
    study = plan.studies[sizes[0].name]
    zero = _zero_shot(plan, sizes)
    columns = {_size(plan.studies[results.name]): results for results in sizes}
    if ALL in columns and not {*columns[ALL].runs} & {*_variants(columns)}:
        del columns[ALL]
    path = folder / f"{curve}-low-data.{picture}"
    _draw(plan, study, columns, zero, path)
    return [
        f"## Learning curve: {study.title}",
        _explained(plan, study, columns),
        _table(plan, study, columns, zero),
        f"![{curve} learning curve]({folder.name}/{path.name})",
    ]


def _order(study: Study) -> float:
    return float("inf") if study.per_class is None else study.per_class


def _size(study: Study) -> str:
    return ALL if study.per_class is None else str(study.per_class)


def _explained(plan: Plan, study: Study, columns: dict[str, StudyResults]) -> str:
    first = next(iter(columns.values()))
    run = next(iter(first.runs.values()))[0]
    shared = max(card.shared_speakers for card in first.cards)
    text = (
        f"Protocol: **{plan.sources[study.source].protocol.title}**, {len(run.cards)} fold(s), {len(run.ids)} test "
        f"utterances. Each column is so many training utterances per class (all of a class that has fewer), drawn by "
        "seed and class: a smaller part is a subset of a larger one, and all variants of a seed learn from the same "
        f"utterances. The validation part is not cut ({run.cards[0].counts['valid']} utterances in the first fold): it "
        "chooses epochs and penalties better than so few labels could. "
        f"Scores are {SHORT[study.metric]}, ± over seeds; a gain is full minus the variant without that part, with a "
        "95% paired bootstrap interval, not adjusted for the number of comparisons."
    )
    if study.normalise == "speaker":
        text += " Audio is normalised by speaker, with all of a speaker's utterances and no label."
    if shared:
        text += f" **{shared} test speakers are heard in training or validation: not speaker-independent.**"
    return text


def _table(plan: Plan, study: Study, columns: dict[str, StudyResults], zero: ZeroShot | None) -> str:
    header = ["variant", *(["0"] if zero else []), *columns]
    blank = [""] if zero else []
    lines = [["training utterances, first fold", *(["0"] if zero else []), *(_counts(r) for r in columns.values())]]
    lines.append(["seeds", *blank, *(str(max(map(len, r.runs.values()))) for r in columns.values())])
    if zero:
        variant, runs = zero
        cells = [_spread(runs[:1], study.metric)] + [""] * len(columns)
        lines.append([plan.variants[variant].title, *cells])
    for variant in _variants(columns):
        cells = [_spread(results.runs.get(variant, ()), study.metric) for results in columns.values()]
        lines.append([plan.variants[variant].title, *blank, *cells])
    for part, claim in CLAIMS.items():
        gains = [_gain(results, part, study.metric) for results in columns.values()]
        if any(gains):
            lines.append([f"gain: {claim}", *blank, *gains])
    return markdown_table(header, lines)


def _variants(columns: dict[str, StudyResults]) -> list[str]:
    """Return the variants of the studies with few utterances; what only the full training part has is no curve."""
    return list(dict.fromkeys(v for size, results in columns.items() if size != ALL for v in results.runs))


def _zero_shot(plan: Plan, studies: Sequence[StudyResults]) -> ZeroShot | None:
    runs = [found for results in studies for found in results.runs.items()]
    return next((found for found in runs if plan.variants[found[0]].kind == "zero_shot"), None)


def _counts(results: StudyResults) -> str:
    return str(max(card.counts["train"] for card in results.cards if card.fold == results.cards[0].fold))


def _spread(runs: Sequence[Run], metric: str) -> str:
    return spread(runs, metric, runs[0].probabilities.shape[1]) if runs else ""


def _gain(results: StudyResults, part: str, metric: str) -> str:
    full, without = results.runs.get(REFERENCE), results.runs.get(part)
    if not full or not without:
        return ""
    return interval_text(difference_of(draw_of(full), full, without, metric).interval, "+")


def _draw(plan: Plan, study: Study, columns: dict[str, StudyResults], zero: ZeroShot | None, path: Path) -> None:
    curves: dict[str, dict[str, tuple[float, float]]] = {}
    for variant in _variants(columns):
        scores = {
            size: _scores(results.runs[variant], study.metric)
            for size, results in columns.items()
            if variant in results.runs
        }
        spreads = {size: statistics.spread(values) for size, values in scores.items()}
        curves[plan.variants[variant].title] = {size: (mean, sd or 0.0) for size, (mean, sd) in spreads.items()}
    level = None if zero is None else _scores(zero[1][:1], study.metric)[0]
    plots.low_data(path, list(columns), curves, level, SHORT[study.metric], study.title)


def _scores(runs: Sequence[Run], metric: str) -> list[float]:
    return [statistics.score(run.truth, run.guess, run.probabilities.shape[1], metric) for run in runs]
