"""The costs of a run name every stage: what it cost beside the last time, or why it did not run."""

from __future__ import annotations

import pytest

from lsgmer.core.costs import StageCost
from lsgmer.core.paths import Workspace
from lsgmer.core.records import canonical_json
from lsgmer.workspace import costs

ORDER = ("sample@sample", "features", "train", "package")


def cost(stage, run, wall_s=10.0, cpu_s=8.0, **changes):
    content = {"stage": stage, "run": run, "ended": "2026-11-27T06:00:00+00:00", "completed": True, "load": 2.5}
    content |= {"wall_s": wall_s, "cpu_s": cpu_s, "peak_memory_mib": 300.0, "processes": 1}
    return StageCost(**(content | {"cpu_energy_j": None, "gpu_energy_j": None} | changes))


@pytest.fixture
def workspace(tmp_path):
    ledger = [
        cost("sample", "one"),
        cost("train", "one", 20.0),
        cost("train", None, 16.0, 16.0),  # `dvc repro` by hand
        cost("train", "broken", 1.0, completed=False),
        cost("sample", "two", 10.2),
        cost("train", "two", 12.0, 16.0, peak_memory_mib=700.0),
    ]
    found = Workspace(tmp_path)
    found.state.mkdir()
    found.costs.write_text("".join(canonical_json(each.model_dump()) + "\n" for each in ledger))
    return found


def gathered(workspace):
    skipped = {"features": costs.UNCHANGED, "package": costs.REJECTED}
    return costs.gather(workspace, "two", ORDER, skipped, 30.0, 28.0)


def test_each_stage_is_compared_with_the_last_time_that_it_completed(workspace):
    sample, features, train, package = gathered(workspace).stages
    assert sample.before.run == "one"
    assert (train.cost.wall_s, train.before.wall_s) == (12.0, 16.0)
    assert (features.cost, features.skipped, package.skipped) == (None, costs.UNCHANGED, costs.REJECTED)


def test_table_says_faster_the_same_skipped_and_not_measured(workspace):
    lines = costs.table(gathered(workspace)).splitlines()
    assert lines[0].split() == ["stage", "time", "CPU", "peak", "memory", "last", "time"]
    assert "about the same (CPU +0%)" in lines[1]
    assert lines[2].split(maxsplit=1) == ["features", "skipped: up to date"]
    assert "16.0 s: 25% faster (CPU +0%)" in lines[3]
    assert lines[4].endswith("the gate did not pass")
    assert lines[5].split()[:5] == ["DVC", "and", "flow", "7.8", "s"]
    assert lines[6].split()[-2:] == ["700", "MiB"]
    assert "energy: not measured" in lines[7]
    assert "2.5 to 2.5" in lines[8]


def test_energy_is_a_sum_only_if_every_stage_measured_it(workspace):
    both = tuple(
        costs.StageLine(stage=name, cost=cost(name, "x", cpu_energy_j=value, gpu_energy_j=gpu))
        for name, value, gpu in (("a", 500.0, None), ("b", 1500.0, 10.0))
    )
    text = costs.energy_text(costs.RunCosts(run="x", stages=both, wall_s=1, cpu_s=1))
    assert text.startswith("CPU 2.00 kJ (")


def test_costs_of_another_run_are_not_taken_for_this_ones(workspace):
    costs.write(workspace, gathered(workspace))
    assert costs.read(workspace, "two") == gathered(workspace)
    assert costs.read(workspace, "three") is None


def test_a_run_in_which_nothing_ran_has_a_table(workspace):
    idle = costs.gather(workspace, "four", ORDER, dict.fromkeys(ORDER, costs.UNCHANGED), 5.0, 3.0)
    assert costs.table(idle).count(costs.UNCHANGED) == len(ORDER)
    assert "not measured" in costs.markdown(idle)
