"""Stage `gate`: rules on the metrics, each a small pure function. It exits with 0 whatever the verdict is."""

from __future__ import annotations

from collections.abc import Callable

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import read_record
from lsgmer.core.sections import Sections
from lsgmer.core.stage import run_stage
from lsgmer.core.text import markdown_table, number_text
from lsgmer.evaluation.params import GateParams
from lsgmer.evaluation.records import GateDecision, Metrics, RuleResult, Verdict
from lsgmer.model.train_card import load_card

SEVERITY: dict[Verdict, int] = {"PASS": 0, "HOLD": 1, "REJECT": 2}


class Needs(Sections):
    """What the stage reads of params.yaml."""

    gate: GateParams


def floor(metrics: Metrics, params: GateParams) -> RuleResult:
    """Balanced accuracy itself, for corpora with a known target."""
    value = metrics.models["fused"].balanced_accuracy.value
    return _at_least("floor", value, params.min_balanced_accuracy, "balanced accuracy")


def over_chance(metrics: Metrics, params: GateParams) -> RuleResult:
    """Balanced accuracy above chance; HOLD if its lower bound does not clear chance, since it may be luck."""
    found, threshold = metrics.models["fused"].balanced_accuracy, params.min_over_chance
    result = _at_least("over_chance", found.value - metrics.chance, threshold, f"gain over chance {metrics.chance:.3f}")
    if threshold is None or result.verdict != "PASS":
        return result
    if found.low is None or found.low <= metrics.chance:
        low = "unknown" if found.low is None else f"{found.low:.3f}"
        reason = (
            f"its lower bound ({low}) does not clear chance ({metrics.chance:.3f}): too few test utterances to tell"
        )
        return _result("over_chance", result.value, threshold, "HOLD", reason)
    return result


def over_linear(metrics: Metrics, params: GateParams) -> RuleResult:
    """Balanced accuracy over the linear baseline: a network that a linear model beats is not worth serving."""
    threshold, gain = params.min_over_linear, metrics.differences.get("fused-linear")
    if threshold is not None and gain is None:
        return _result("over_linear", None, threshold, "HOLD", "there is no linear baseline to compare with")
    return _at_least("over_linear", gain.value if gain else None, threshold, "gain over the linear baseline")


def class_recall(metrics: Metrics, params: GateParams) -> RuleResult:
    """Recall of the worst class; HOLD if a class has no test utterances."""
    recall, threshold = metrics.models["fused"].recall, params.min_class_recall
    known = {name: value for name, value in recall.items() if value is not None}
    worst = min(known, key=lambda name: known[name])
    result = _at_least("class_recall", known[worst], threshold, f"recall of the worst class, {worst},")
    missing = [name for name in metrics.labels if name not in known]
    if threshold is not None and missing and result.verdict == "PASS":
        reason = f"no test utterance is {', '.join(missing)}, so its recall is unknown"
        return _result("class_recall", known[worst], threshold, "HOLD", reason)
    return result


def calibration(metrics: Metrics, params: GateParams) -> RuleResult:
    """Limit the expected calibration error: how far confidence is from accuracy."""
    return _at_most("calibration", metrics.models["fused"].ece, params.max_ece, "expected calibration error")


def subgroup_gap(metrics: Metrics, params: GateParams) -> RuleResult:
    """Largest minus smallest balanced accuracy over the sexes; the speakers' spread is reported, not judged."""
    threshold, speakers = params.max_subgroup_gap, _values(metrics, "speaker")
    told = f"; speakers range from {min(speakers):.3f} to {max(speakers):.3f}" if speakers else ""
    sexes = _values(metrics, "sex")
    if threshold is not None and len(sexes) < 2:
        reason = f"fewer than two sexes with enough test utterances: nothing to compare{told}"
        return _result("subgroup_gap", None, threshold, "PASS", reason)
    gap = max(sexes) - min(sexes) if sexes else None
    return _at_most("subgroup_gap", gap, threshold, "gap between sexes", told)


def champion(metrics: Metrics, params: GateParams) -> RuleResult:
    """Against the champion, on speakers that both have not seen: reject what may be worse by more than the margin.

    With too few such utterances, or models that cannot be compared, it is a HOLD: a person decides.
    """
    against, margin = metrics.incumbent, params.champion_margin
    if against is None:
        return _result("champion", None, -margin, "PASS", "no champion yet")
    found = against.difference
    if found is None or found.low is None:
        return _result("champion", None, -margin, "HOLD", f"not compared with {against.champion}: {against.reason}")
    if against.n < params.min_champion_utterances:
        reason = f"only {against.n} utterances of speakers new to both, {params.min_champion_utterances} are needed"
        return _result("champion", found.low, -margin, "HOLD", reason)
    span = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] against {against.champion}"
    reason = f"{span} on {against.n} utterances of {against.n_speakers} speakers new to both"
    return _result("champion", found.low, -margin, "PASS" if found.low >= -margin else "REJECT", reason)


def robustness(metrics: Metrics, params: GateParams) -> RuleResult:
    """Balanced accuracy lost under the perturbations that have a limit: the one that is furthest over its own."""
    limits = params.max_robustness_loss
    if not limits:
        return _result("robustness", None, None, "PASS", "switched off")
    lost = {found.perturbation: -found.change.value for found in metrics.robustness}
    missing = sorted(set(limits) - set(lost))
    if missing:
        return _result("robustness", None, None, "HOLD", f"not measured: {', '.join(missing)}")
    worst = max(limits, key=lambda name: lost[name] - limits[name])
    return _at_most("robustness", lost[worst], limits[worst], f"balanced accuracy lost under {worst}")


RULES: tuple[Callable[[Metrics, GateParams], RuleResult], ...] = (
    floor,
    over_chance,
    over_linear,
    class_recall,
    calibration,
    subgroup_gap,
    robustness,
    champion,
)


def decide(metrics: Metrics, params: GateParams, metrics_sha256: str, weights_sha256: str) -> GateDecision:
    """Apply every rule; the verdict is the worst of theirs."""
    rules = tuple(rule(metrics, params) for rule in RULES)
    verdict = max((rule.verdict for rule in rules), key=SEVERITY.__getitem__)
    return GateDecision(verdict=verdict, rules=rules, metrics_sha256=metrics_sha256, weights_sha256=weights_sha256)


def report(decision: GateDecision) -> str:
    """Return the decision as Markdown."""
    rows = [(r.name, r.verdict, number_text(r.value), number_text(r.threshold), r.reason) for r in decision.rules]
    table = markdown_table(("Rule", "Verdict", "Value", "Threshold", "Reason"), rows)
    hashes = f"Weights `{decision.weights_sha256}`\nMetrics `{decision.metrics_sha256}`\n"
    return f"# Gate: {decision.verdict}\n\n{table}\n\n{hashes}"


def run(workspace: Workspace, params: Needs) -> None:
    """Judge data/evaluate/metrics.json and write data/gate/{gate.json,report.md}."""
    path, out = workspace.data("evaluate") / "metrics.json", workspace.data("gate")
    metrics = read_record(path, Metrics, "run `dvc repro evaluate`")
    weights = load_card(workspace.data("train")).weights_sha256
    if metrics.weights_sha256 != weights:
        raise LsgmerError(
            f"{path}: measures the weights {metrics.weights_sha256}, but data/train holds {weights}; "
            "run `dvc repro evaluate`"
        )
    decision = decide(metrics, params.gate, file_sha256(path), weights)
    write_atomically(out / "gate.json", decision.to_json())
    write_atomically(out / "report.md", report(decision))
    for rule in decision.rules:
        print(f"{rule.verdict:6}  {rule.name:13} {rule.reason}")
    print(f"gate: {decision.verdict}")


def _at_least(name: str, value: float | None, threshold: float | None, what: str) -> RuleResult:
    return _compare(name, value, threshold, what, 1, "")


def _at_most(name: str, value: float | None, threshold: float | None, what: str, more: str = "") -> RuleResult:
    return _compare(name, value, threshold, what, -1, more)


def _compare(name: str, value: float | None, threshold: float | None, what: str, sign: int, more: str) -> RuleResult:
    """PASS where value is on the right side of the threshold (sign 1: at least, -1: at most); HOLD without a value."""
    if threshold is None:
        return _result(name, value, None, "PASS", f"switched off{more}")
    if value is None:
        return _result(name, None, threshold, "HOLD", f"{what}: not measured{more}")
    side = "at least" if sign > 0 else "at most"
    verdict: Verdict = "PASS" if sign * value >= sign * threshold else "REJECT"
    return _result(name, value, threshold, verdict, f"{what} {value:.3f}, {side} {threshold:.3f} is asked{more}")


def _result(name: str, value: float | None, threshold: float | None, verdict: Verdict, reason: str) -> RuleResult:
    return RuleResult(name=name, value=value, threshold=threshold, verdict=verdict, reason=reason)


def _values(metrics: Metrics, kind: str) -> list[float]:
    return [group.balanced_accuracy.value for group in metrics.groups.get(kind, {}).values()]


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("gate", run, Needs)


if __name__ == "__main__":
    main()
