"""The machine's energy counters: RAPL for processors, NVML for NVIDIA GPUs. Absent or unreadable: not measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICROJOULES, MILLIJOULES = 1e-6, 1e-3
Reading = dict[str, int]  # counter -> value, in the counter's own unit


@dataclass
class EnergyMeter:
    """Reads the counters when made; `used` says what was used since then. For the whole machine, not one process."""

    powercap: Path = POWERCAP
    _cpu: Reading = field(init=False)
    _gpu: Reading = field(init=False)

    def __post_init__(self) -> None:
        self._cpu, self._gpu = read_rapl(self.powercap), read_nvml()

    def used(self) -> tuple[float | None, float | None]:
        """Return the joules that processors (package domains) and GPUs used, or None where nothing counts them."""
        cpu = difference(self._cpu, read_rapl(self.powercap), read_ranges(self.powercap))
        gpu = difference(self._gpu, read_nvml() if self._gpu else {}, {})
        return (
            None if cpu is None else cpu * MICROJOULES,
            None if gpu is None else gpu * MILLIJOULES,
        )


def difference(before: Reading, after: Reading, ranges: Mapping[str, int]) -> int | None:
    """Return the sum of what the counters rose by, or None if a counter is missing; a counter wraps at its range.

    >>> difference({"a": 90}, {"a": 10}, {"a": 100})
    20
    """
    if not before or before.keys() != after.keys():
        return None
    rises = [
        after[name] - value + (ranges.get(name, 0) if after[name] < value else 0) for name, value in before.items()
    ]
    return sum(rises) if min(rises) >= 0 else None


def read_rapl(powercap: Path) -> Reading:
    """Return microjoules per RAPL package domain; empty where there is none or only root may read it."""
    return _numbers(powercap, "energy_uj")


def read_ranges(powercap: Path) -> Reading:
    """Return the value in microjoules at which each RAPL package domain's counter wraps."""
    return _numbers(powercap, "max_energy_range_uj")


def read_nvml() -> Reading:
    """Return millijoules per GPU since its driver was loaded; empty without an NVIDIA driver or on old GPUs."""
    try:
        import pynvml
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            return {str(i): int(pynvml.nvmlDeviceGetTotalEnergyConsumption(each)) for i, each in enumerate(handles)}
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return {}


def _numbers(powercap: Path, name: str) -> Reading:
    # intel-rapl:0 is a package; intel-rapl:0:0 (its cores) and the like are parts of it. AMD uses the same names.
    found: Reading = {}
    try:
        for domain in sorted(powercap.glob("intel-rapl:*")):
            if domain.name.count(":") == 1:
                found[domain.name] = int((domain / name).read_text())
    except (OSError, ValueError):
        return {}
    return found
