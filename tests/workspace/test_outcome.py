"""What a run says at its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.metrics import Interval, interval_text
from lsgmer.registry import champions
from lsgmer.registry.promotion import read_gate, to_promote, verdict_code
from lsgmer.workspace import outcome
from tests.commands.test_cli import add_bento
from tests.flows import fake_stage


def fill(root: Path, verdict: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Write the papers of a finished run whose gate said `verdict`."""
    monkeypatch.chdir(root)
    (root / "verdict.txt").write_text(verdict)
    for stage, text in (
        ("evaluate/metrics.json", fake_stage.metrics().to_json()),
        ("gate/gate.json", fake_stage.gate().to_json()),
    ):
        (root / "data" / stage).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / stage).write_text(text)
    return Workspace(root)


def test_passing_run_names_bento_champion_and_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = fill(tmp_path, "PASS", monkeypatch)
    tag = add_bento(tmp_path, "1")
    (tmp_path / "data/package").mkdir()
    (tmp_path / "data/package/package.json").write_text(json.dumps({"tag": tag}))
    assert to_promote(workspace) == tag
    champions.promote(workspace, tag)
    text = outcome.render(workspace)
    for part in (
        "0.800 [0.700, 0.900]",
        "+0.100 [+0.050, +0.150]",
        "gate      PASS",
        f"bento     {tag}",
        "make serve",
        "curl -F",
    ):
        assert part in text


@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_run_that_did_not_pass_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str) -> None:
    workspace = fill(tmp_path, verdict, monkeypatch)
    text = outcome.render(workspace)
    assert f"{verdict} floor: 0.8 against 0.9" in text
    assert "champion  none" in text
    assert "make serve" not in text
    assert verdict_code(workspace) == ExitCode.REJECTED
    assert to_promote(workspace) is None


def test_going_back_is_not_undone_by_a_rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = fill(tmp_path, "PASS", monkeypatch)
    one, two = add_bento(tmp_path, "1"), add_bento(tmp_path, "2")
    (tmp_path / "data/package").mkdir()
    (tmp_path / "data/package/package.json").write_text(json.dumps({"tag": two}))
    champions.promote(workspace, one)
    champions.promote(workspace, two)
    champions.go_back(workspace)
    assert to_promote(workspace) is None


def test_nothing_yet_and_damaged_papers(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert outcome.render(workspace) == "champion  none"
    assert verdict_code(workspace) == ExitCode.DONE
    (tmp_path / "data/gate").mkdir(parents=True)
    (tmp_path / "data/gate/gate.json").write_text("{}")
    with pytest.raises(LsgmerError, match=r"gate.json: not readable as GateDecision"):
        read_gate(workspace)


def test_intervals_are_shown_only_where_known() -> None:
    assert interval_text(Interval(value=0.5)) == "0.500"
    assert interval_text(Interval(value=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"
