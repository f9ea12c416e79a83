"""The evaluation as a page for people: Markdown, the same bytes for the same metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lsgmer.evaluation.records import IncumbentComparison, Metrics
from lsgmer.metrics import Interval, ModelMetrics

PLOTS = ("confusion", "reliability", "recall", "risk_coverage")
GROUP_TITLES = {"sex": "By sex", "tag": "By tag", "speaker": "By speaker"}


def render(metrics: Metrics, speakers: Mapping[str, str]) -> str:
    """Return the report; `speakers` gives the name behind each digest in `metrics.groups["speaker"]`."""
    parts = [
        "# Evaluation",
        f"{metrics.models['fused'].n} test utterances of {metrics.n_speakers} speakers, chance {metrics.chance:.3f}. "
        "UA = balanced accuracy, WA = accuracy. In brackets: 95% bootstrap intervals over utterances, stratified by "
        "class; they hold for these speakers.",
        "## Models",
        _models(metrics.models),
        _differences(metrics.differences),
        "## Recall per class",
        _recall(metrics),
        *_subgroups(metrics),
        *_trust(metrics.models["fused"]),
        *_groups(metrics, speakers),
        "## Champion",
        _champion(metrics.incumbent),
    ]
    if metrics.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in metrics.notes)]
    parts += ["## Plots", "\n".join(f"![{name}](plots/{name}.png)" for name in PLOTS)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def span(interval: Interval, sign: str = "") -> str:
    """Return "0.812 [0.760, 0.861]"."""
    value = f"{interval.value:{sign}.3f}"
    if interval.low is None or interval.high is None:
        return value
    return f"{value} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _models(models: Mapping[str, ModelMetrics]) -> str:
    header = ("model", "n", "UA", "WA", "weighted F1", "macro F1", "ECE", "consistency")
    return table(header, ((name, *_cells(found)) for name, found in models.items()))


def _cells(found: ModelMetrics) -> tuple[str, ...]:
    spans = (found.balanced_accuracy, found.accuracy, found.weighted_f1, found.macro_f1)
    return (str(found.n), *(span(value) for value in spans), _number(found.ece), _number(found.mean_consistency))


def _differences(differences: Mapping[str, Interval]) -> str:
    rows = [(name.replace("-", " minus "), span(value, "+")) for name, value in differences.items()]
    return table(("difference", "UA, paired"), rows) if rows else ""


def _recall(metrics: Metrics) -> str:
    rows = [
        (name, *(_number(model.recall[name]) or "none in test" for model in metrics.models.values()))
        for name in metrics.labels
    ]
    return table(("class", *metrics.models), rows)


def _subgroups(metrics: Metrics) -> list[str]:
    """Show which modality each tag needs: UA of every model on the utterances with that tag."""
    if not metrics.subgroup_models:
        return []
    names = list(metrics.models)
    rows = [
        (tag, *(span(models[name]) if name in models else "" for name in names))
        for tag, models in metrics.subgroup_models.items()
    ]
    return ["## UA by tag and model", table(("tag", *names), rows)]


def _trust(fused: ModelMetrics) -> list[str]:
    rows = [
        (f"by {score}", *(f"{value:.3f}" for value in shares.values()), f"{fused.accuracy.value:.3f}")
        for score, shares in fused.selective_accuracy.items()
    ]
    shares = next(iter(fused.selective_accuracy.values()), {})
    header = ("most trusted", *(f"WA of {share}" for share in shares), "WA of all")
    return ["## Trust scores", table(header, rows)] if rows else []


def _groups(metrics: Metrics, speakers: Mapping[str, str]) -> list[str]:
    parts = []
    for kind, title in GROUP_TITLES.items():
        groups = metrics.groups.get(kind)
        if groups:
            rows = [(speakers.get(name, name), *_cells(found)) for name, found in groups.items()]
            header = (kind, "n", "UA", "WA", "weighted F1", "macro F1", "ECE", "consistency")
            parts += [f"## {title} (fused)", table(header, sorted(rows))]
    return parts


def _champion(against: IncumbentComparison | None) -> str:
    if against is None:
        return "No champion yet."
    where = f"{against.n} utterances of {against.n_speakers} speakers that neither model was trained on"
    if against.difference is None:
        return f"Not compared with {against.champion} ({where}): {against.reason}."
    return f"UA minus that of {against.champion}: {span(against.difference, '+')}, on {where}."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
