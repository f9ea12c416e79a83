"""What DVC says is read right."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.workspace import dvc
from tests.flows.fake_pipeline import make_workspace

ORDER = ("make@sample", "train", "evaluate", "gate", "package")


def test_plan_and_status_of_a_real_pipeline(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "w")
    plan, todo = dvc.survey(root)
    assert plan.order == todo == ORDER
    assert plan.needs["gate"] == {"evaluate"}


@pytest.mark.parametrize(("content", "kept"), [("", False), ('{"read": ', False), ('{"read": {}}', True)])
def test_lock_that_a_killed_dvc_left_half_written_is_removed(tmp_path: Path, content: str, kept: bool) -> None:
    lock = tmp_path / ".dvc/tmp/rwlock"
    dvc.mend_lock(tmp_path)
    lock.parent.mkdir(parents=True)
    lock.write_text(content)
    dvc.mend_lock(tmp_path)
    assert lock.exists() is kept


def test_everything_downstream_follows() -> None:
    needs = {"c": frozenset("b"), "b": frozenset("a"), "a": frozenset[str](), "x": frozenset[str]()}
    plan = dvc.StageGraph(order=("a", "x", "b", "c"), needs=needs)
    assert plan.after({"b"}) == ("b", "c")
    assert plan.after({"x", "a"}) == ("a", "x", "b", "c")
    assert plan.after(()) == ()


def test_order_follows_needs_then_declaration() -> None:
    needs = {
        "late@b": frozenset({"first"}),
        "late@a": frozenset({"first"}),
        "first": frozenset[str](),
        "own": frozenset[str](),
    }
    assert dvc._ordered(needs, ["own", "late", "first"]) == ("own", "first", "late@a", "late@b")


def test_dvc_errors_keep_their_reason(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "w")
    (root / "dvc.yaml").write_text("stages: {a: {cmd: x, outs: [y], nonsense: 1}}\n")
    with pytest.raises(LsgmerError, match=r"(?s)dvc status.*nonsense"):
        dvc.unclean(root)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ERROR: 'data/x' is busy, it is being blocked by:\n  (PID 4711): dvc repro", "(process 4711)"),
        ("ERROR: Unable to acquire lock. Most likely another DVC process is running", "another DVC command"),
        ("ERROR: failed to reproduce 'train'", None),
    ],
)
def test_busy_messages_become_clear(output: str, expected: str | None) -> None:
    message = dvc.busy(output)
    assert message is None if expected is None else expected in str(message)
