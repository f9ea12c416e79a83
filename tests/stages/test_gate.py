"""Each gate rule on metrics made for it, and the decision they add up to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.evaluation.params import GateParams
from lsgmer.evaluation.records import GateDecision, IncumbentComparison, Metrics, Robustness, RuleResult
from lsgmer.metrics import Interval, ModelMetrics, summarise
from lsgmer.stages import gate
from tests.support.synthetic import small_params

NAMES = ("angry", "happy", "neutral")
PARAMS = GateParams(
    min_balanced_accuracy=0.5,
    min_over_chance=0.1,
    min_over_linear=-0.02,
    min_class_recall=0.3,
    max_ece=0.25,
    max_subgroup_gap=0.2,
    champion_margin=0.05,
    min_champion_utterances=50,
)
OFF = GateParams(
    min_balanced_accuracy=None,
    min_over_chance=None,
    min_over_linear=None,
    min_class_recall=None,
    max_ece=None,
    max_subgroup_gap=None,
    champion_margin=0.05,
    min_champion_utterances=50,
)


def model(*recalls: float, per_class: int = 100, confidence: float = 0.9, classes: int = 3) -> ModelMetrics:
    """Metrics of a model with the given recall per class; its wrong answers are the next class."""
    truth = np.repeat(np.arange(classes), per_class)
    guess = truth.copy()
    for label, recall in enumerate(recalls[:classes]):
        wrong = np.flatnonzero(truth == label)[round(recall * per_class) :]
        guess[wrong] = (label + 1) % classes
    probabilities = np.full((len(truth), 3), (1 - confidence) / 2)
    probabilities[np.arange(len(truth)), guess] = confidence
    return summarise(truth, probabilities, NAMES, resamples=300)


def made(fused: ModelMetrics | None = None, **changes: Any) -> Metrics:
    content: dict[str, Any] = {
        "labels": NAMES,
        "chance": 1 / 3,
        "n_speakers": 6,
        "models": {"fused": fused or model(0.9, 0.8, 0.9, confidence=0.85)},
        "differences": {"fused-linear": Interval(value=0.1, low=0.02, high=0.2)},
        "groups": {"sex": {"female": model(0.9, 0.9, 0.9), "male": model(0.8, 0.8, 0.8)}},
        "weights_sha256": "w" * 64,
    }
    return Metrics(**(content | changes))


def against(low: float, n: int = 120, value: float = 0.0) -> IncumbentComparison:
    difference = Interval(value=value, low=low, high=max(value, low) + 0.1)
    return IncumbentComparison(champion="lsgmer:abc", n=n, n_speakers=4, difference=difference, reason="compared")


def decide(metrics: Metrics, params: GateParams = PARAMS) -> GateDecision:
    return gate.decide(metrics, params, "m" * 64, "w" * 64)


def test_a_good_model_passes_every_rule():
    decision = decide(made(incumbent=against(-0.01)))
    assert [rule.verdict for rule in decision.rules] == ["PASS"] * len(gate.RULES), decision.rules
    assert decision.verdict == "PASS"


@pytest.mark.parametrize(
    ("rule", "metrics"),
    [
        (gate.floor, made(model(0.5, 0.4, 0.5))),
        (gate.over_chance, made(model(0.5, 0.3, 0.4))),
        (gate.over_linear, made(differences={"fused-linear": Interval(value=-0.03)})),
        (gate.class_recall, made(model(1.0, 1.0, 0.2))),
        (gate.calibration, made(model(0.6, 0.6, 0.6, confidence=0.99))),
        (gate.subgroup_gap, made(groups={"sex": {"female": model(0.9, 0.9, 0.9), "male": model(0.6, 0.6, 0.6)}})),
        (gate.champion, made(incumbent=against(-0.06))),
    ],
)
def test_each_rule_rejects_what_it_is_for(rule, metrics):
    found = rule(metrics, PARAMS)
    assert found.verdict == "REJECT"
    assert found.name == rule.__name__
    assert found.value is not None
    assert found.threshold is not None
    assert f"{abs(found.value):.3f}" in found.reason, "the reason carries the number"


def test_a_rule_that_is_switched_off_passes_whatever_the_metrics():
    bad = made(model(0, 0, 0, confidence=0.99), differences={}, groups={})
    decision = decide(bad, OFF)
    assert decision.verdict == "PASS"
    assert [rule.name for rule in decision.rules if rule.reason.startswith("switched off")] == [
        rule.__name__ for rule in gate.RULES if rule is not gate.champion
    ]


def test_the_threshold_itself_passes():
    params = PARAMS.model_copy(update={"min_class_recall": 0.5, "champion_margin": 0.05})
    assert gate.class_recall(made(model(0.9, 0.5, 0.9)), params).verdict == "PASS"
    assert gate.champion(made(incumbent=against(-0.05)), params).verdict == "PASS"


def test_luck_is_held():
    """Above chance by the threshold, but on so few utterances that the interval reaches below chance."""
    few = model(2 / 3, 1 / 3, 1 / 3, per_class=3)
    found = gate.over_chance(made(few), PARAMS)
    assert few.balanced_accuracy.value - 1 / 3 > 0.1
    assert (found.verdict, "too few" in found.reason) == ("HOLD", True)


def test_what_was_not_measured_is_held():
    assert gate.over_linear(made(differences={}), PARAMS).verdict == "HOLD"
    absent = gate.class_recall(made(model(0.9, 0.9, classes=2)), PARAMS)
    assert absent.verdict == "HOLD"
    assert "neutral" in absent.reason


def test_one_sex_is_nothing_to_compare():
    assert gate.subgroup_gap(made(groups={"sex": {"female": model(0.9, 0.9, 0.9)}}), PARAMS).verdict == "PASS"
    speakers = {"sex": made().groups["sex"], "speaker": {"a": model(0.2, 0.2, 0.2), "b": model(1, 1, 1)}}
    told = gate.subgroup_gap(made(groups=speakers), PARAMS)
    assert told.verdict == "PASS", "speakers are told, not judged"
    assert "0.200 to 1.000" in told.reason


def test_the_champion_rule():
    assert gate.champion(made(), PARAMS).reason == "no champion yet"
    assert gate.champion(made(incumbent=against(0.01, n=49)), PARAMS).verdict == "HOLD"
    assert gate.champion(made(incumbent=against(-0.9, n=49)), PARAMS).verdict == "HOLD", "too few to reject on"
    other = IncumbentComparison(champion="lsgmer:abc", n=0, n_speakers=0, difference=None, reason="its labels are x, y")
    held = gate.champion(made(incumbent=other), PARAMS)
    assert held.verdict == "HOLD"
    assert "its labels are x, y" in held.reason
    assert "lsgmer:abc" in held.reason


def test_the_champion_rule_alone_refuses_a_bad_challenger():
    decision = decide(made(incumbent=against(-0.31, value=-0.22)), OFF)
    assert decision.verdict == "REJECT"
    assert [rule.name for rule in decision.rules if rule.verdict != "PASS"] == ["champion"]


def test_the_verdict_is_the_worst():
    hold = made(incumbent=against(0.01, n=3))
    assert decide(hold).verdict == "HOLD"
    assert decide(hold.model_copy(update={"differences": {"fused-linear": Interval(value=-1)}})).verdict == "REJECT"


def stage(root: Path, metrics: Metrics, card: str) -> Workspace:
    workspace = Workspace(root)
    for name in ("evaluate", "train"):
        workspace.data(name).mkdir(parents=True)
    (workspace.data("evaluate") / "metrics.json").write_text(metrics.to_json())
    (workspace.data("train") / "card.json").write_text(card)
    return workspace


def test_the_stage_writes_its_decision_and_refuses_other_peoples_metrics(tmp_path, capsys):
    from tests.support.builders import train_card

    params = small_params()
    metrics = made(model(0.9, 0.9, 0.1))
    workspace = stage(tmp_path / "a", metrics, train_card(weights_sha256="w" * 64).to_json())
    gate.run(workspace, params)
    decision = GateDecision.model_validate_json((workspace.data("gate") / "gate.json").read_text())
    assert decision.verdict == "REJECT"
    report = (workspace.data("gate") / "report.md").read_text()
    assert "# Gate: REJECT" in report
    printed = capsys.readouterr().out
    assert all(rule.name in report and rule.name in printed for rule in decision.rules)
    before = {path.name: path.read_bytes() for path in workspace.data("gate").iterdir()}
    gate.run(workspace, params)
    assert before == {path.name: path.read_bytes() for path in workspace.data("gate").iterdir()}

    other = stage(tmp_path / "b", metrics, train_card(weights_sha256="x" * 64).to_json())
    with pytest.raises(LsgmerError, match="measures the weights"):
        gate.run(other, params)


@pytest.mark.parametrize("content", ["", "{}", '{"labels": 3}', None])
def test_unreadable_metrics_are_named(tmp_path, content):
    workspace = stage(tmp_path, made(), "{}")
    path = workspace.data("evaluate") / "metrics.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(LsgmerError, match=r"metrics\.json: (not readable|no such file).*dvc repro evaluate"):
        gate.run(workspace, small_params())


def effect(name: str, change: float) -> Robustness:
    interval = Interval(value=change, low=change - 0.1, high=change + 0.1)
    return Robustness(
        perturbation=name, modality="audio", n=32, unchanged=0.9, before=0.8, after=0.8 + change, change=interval
    )


def test_a_perturbation_may_cost_what_its_limit_says():
    metrics = made().model_copy(update={"robustness": (effect("telephone", -0.12), effect("mp3", -0.01))})
    assert rule_named(decide(metrics), "robustness").reason == "switched off"
    for limit, verdict in ((0.15, "PASS"), (0.1, "REJECT")):
        params = PARAMS.model_copy(update={"max_robustness_loss": {"telephone": limit, "mp3": 0.1}})
        found = rule_named(decide(metrics, params), "robustness")
        assert (found.verdict, found.value, found.threshold) == (verdict, pytest.approx(0.12), limit)
        assert "telephone" in found.reason
    unmeasured = PARAMS.model_copy(update={"max_robustness_loss": {"opus": 0.1}})
    assert rule_named(decide(metrics, unmeasured), "robustness").verdict == "HOLD"


def test_a_perturbation_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no perturbation is called noise; there are gain_down_12_db"):
        GateParams.model_validate(PARAMS.model_dump() | {"max_robustness_loss": {"noise": 0.1}})


def rule_named(decision: GateDecision, name: str) -> RuleResult:
    return next(rule for rule in decision.rules if rule.name == name)
