"""What a stage costs is measured over its whole process tree, and recording it never changes how the stage ends."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lsgmer.core.costs import MIB, MemorySampler, read_costs, recorded, tree_cpu_s
from lsgmer.core.energy import EnergyMeter, difference
from lsgmer.core.paths import Workspace

HOLD = "import sys, time; held = bytearray(b'x') * (int(sys.argv[1]) * 2**20); time.sleep(float(sys.argv[2]))"
SPIN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_memory_counts_children_while_they_live():
    with MemorySampler() as alone:
        pass
    with MemorySampler() as memory:
        subprocess.run([sys.executable, "-c", HOLD, "200", "1"], check=True)
    assert memory.peak - alone.peak > 180 * MIB
    assert memory.processes >= 2


def test_own_peak_stays_after_the_memory_is_freed_and_is_not_the_parents():
    script = (
        "from lsgmer.core.costs import own_peak; before = own_peak()\n"
        "held = bytearray(b'x') * (200 * 2**20); del held; print(before, own_peak())"
    )
    held = np.ones(400 * MIB // 8)  # ru_maxrss of the child would begin here
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < held.nbytes / 2
    assert 190 * MIB < after - before < 250 * MIB


@pytest.mark.parametrize("wait", [True, False])
def test_processor_time_counts_children_that_ended_and_that_run(wait):
    before = tree_cpu_s()
    script = SPIN if wait else SPIN + "\nprint('spun', flush=True)\ntime.sleep(30)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        if wait:
            process.wait(timeout=30)
        else:
            assert process.stdout is not None
            process.stdout.readline()
        assert tree_cpu_s() - before >= 0.3
    finally:
        process.kill()
        process.communicate()


def test_ledger_gets_a_line_per_execution_also_of_a_failure(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    monkeypatch.setenv("LSGMER_RUN", "one")
    with recorded("train", workspace):
        pass
    with pytest.raises(ValueError, match="broken"), recorded("train", workspace):
        raise ValueError("broken")
    with workspace.costs.open("a") as file:
        file.write('{"stage": "tra')  # what a crash leaves
    first, second = read_costs(workspace)
    assert (first.stage, first.run, first.completed, second.completed) == ("train", "one", True, False)
    assert first.wall_s > 0
    assert first.cpu_s > 0
    assert first.peak_memory_mib > 10


def test_a_ledger_that_cannot_be_written_is_reported_and_fails_nothing(tmp_path, capsys):
    (tmp_path / ".lsgmer").write_text("a file where the folder should be")
    with recorded("train", Workspace(tmp_path)):
        pass
    assert "train: what it cost could not be recorded" in capsys.readouterr().err


def write_domain(folder, name, **values):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for file, value in values.items():
        (folder / name / file).write_text(f"{value}\n")


def test_energy_sums_packages_once_and_survives_a_wrap(tmp_path):
    write_domain(tmp_path, "intel-rapl:0", energy_uj=9_000_000, max_energy_range_uj=10_000_000)
    write_domain(tmp_path, "intel-rapl:1", energy_uj=1_000_000, max_energy_range_uj=10_000_000)
    write_domain(tmp_path, "intel-rapl:0:0", energy_uj=5, max_energy_range_uj=10_000_000)
    meter = EnergyMeter(tmp_path)
    write_domain(tmp_path, "intel-rapl:0", energy_uj=2_000_000)
    write_domain(tmp_path, "intel-rapl:1", energy_uj=1_500_000)
    write_domain(tmp_path, "intel-rapl:0:0", energy_uj=4_000_000)
    assert meter.used()[0] == pytest.approx(3.5)


def test_energy_without_a_counter_is_none_not_zero(tmp_path):
    assert EnergyMeter(tmp_path).used()[0] is None
    write_domain(tmp_path, "intel-rapl:0", energy_uj="")  # as if it may not be read
    assert EnergyMeter(tmp_path).used()[0] is None
    assert difference({"a": 1}, {"a": 1, "b": 2}, {}) is None
    assert difference({"a": 5}, {"a": 1}, {}) is None  # it fell, and nothing says where it wraps
