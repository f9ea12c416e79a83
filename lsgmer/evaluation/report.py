"""The evaluation report: Markdown for people, the same bytes for the same metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsgmer.core.text import markdown_table, number_text
from lsgmer.evaluation.records import IncumbentComparison, Metrics, Robustness
from lsgmer.metrics import Interval, ModelMetrics, interval_text
from lsgmer.model.train_card import Calibration

PLOTS = ("confusion", "reliability", "recall", "risk_coverage")
GROUP_TITLES = {"sex": "By sex", "tag": "By tag", "speaker": "By speaker"}


def render(metrics: Metrics, speakers: Mapping[str, str]) -> str:
    """Return the report; `speakers` gives the name of each digest in `metrics.groups["speaker"]`."""
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
        *_calibration(metrics.calibration),
        *_robustness(metrics.robustness),
        "## Champion",
        _champion(metrics.incumbent),
    ]
    if metrics.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in metrics.notes)]
    parts += ["## Plots", "\n".join(f"![{name}](plots/{name}.png)" for name in PLOTS)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _models(models: Mapping[str, ModelMetrics]) -> str:
    header = ("model", "n", "UA", "WA", "weighted F1", "macro F1", "ECE", "consistency")
    return markdown_table(header, ((name, *_cells(found)) for name, found in models.items()))


def _cells(found: ModelMetrics) -> tuple[str, ...]:
    spans = (found.balanced_accuracy, found.accuracy, found.weighted_f1, found.macro_f1)
    return (
        str(found.n),
        *(interval_text(value) for value in spans),
        number_text(found.ece),
        number_text(found.mean_consistency),
    )


def _differences(differences: Mapping[str, Interval]) -> str:
    rows = [(name.replace("-", " minus "), interval_text(value, "+")) for name, value in differences.items()]
    return markdown_table(("difference", "UA, paired"), rows) if rows else ""


def _recall(metrics: Metrics) -> str:
    rows = [
        (name, *(number_text(model.recall[name]) or "none in test" for model in metrics.models.values()))
        for name in metrics.labels
    ]
    return markdown_table(("class", *metrics.models), rows)


def _subgroups(metrics: Metrics) -> list[str]:
    """Show which modality each tag needs: UA of every model on the utterances with that tag."""
    if not metrics.subgroup_models:
        return []
    names = list(metrics.models)
    rows = [
        (tag, *(interval_text(models[name]) if name in models else "" for name in names))
        for tag, models in metrics.subgroup_models.items()
    ]
    return ["## UA by tag and model", markdown_table(("tag", *names), rows)]


def _trust(fused: ModelMetrics) -> list[str]:
    rows = [
        (f"by {score}", *(f"{value:.3f}" for value in shares.values()), f"{fused.accuracy.value:.3f}")
        for score, shares in fused.selective_accuracy.items()
    ]
    shares = next(iter(fused.selective_accuracy.values()), {})
    header = ("most trusted", *(f"WA of {share}" for share in shares), "WA of all")
    return ["## Trust scores", markdown_table(header, rows)] if rows else []


def _calibration(found: Calibration | None) -> list[str]:
    if found is None:
        return []
    return [
        "## Calibration (fused)",
        f"Temperature {found.temperature:.3f}, fitted on the validation split: ECE on test {found.ece_before:.3f} "
        f"before, {found.ece_after:.3f} after.",
        "![reliability before](plots/reliability_before.png)",
    ]


def _robustness(found: Sequence[Robustness]) -> list[str]:
    if not found:
        return []
    rows = [
        (one.perturbation, str(one.n), f"{one.unchanged:.3f}", f"{one.before:.3f}", f"{one.after:.3f}",
         interval_text(one.change, "+"))
        for one in found
    ]  # fmt: skip
    header = ("perturbation", "n", "decisions unchanged", "UA before", "UA after", "change, paired")
    return ["## Robustness (fused)", markdown_table(header, rows)]


def _groups(metrics: Metrics, speakers: Mapping[str, str]) -> list[str]:
    parts = []
    for kind, title in GROUP_TITLES.items():
        groups = metrics.groups.get(kind)
        if groups:
            rows = [(speakers.get(name, name), *_cells(found)) for name, found in groups.items()]
            header = (kind, "n", "UA", "WA", "weighted F1", "macro F1", "ECE", "consistency")
            parts += [f"## {title} (fused)", markdown_table(header, sorted(rows))]
    return parts


def _champion(against: IncumbentComparison | None) -> str:
    if against is None:
        return "No champion yet."
    where = f"{against.n} utterances of {against.n_speakers} speakers that neither model was trained on"
    if against.difference is None:
        return f"Not compared with {against.champion} ({where}): {against.reason}."
    return f"UA minus that of {against.champion}: {interval_text(against.difference, '+')}, on {where}."
