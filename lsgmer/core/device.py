"""Where and how torch computes: the device and the number of threads. Importing this does not import torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lsgmer.core.errors import LsgmerError

if TYPE_CHECKING:
    import torch

CORES = "LSGMER_CORES"  # set where several stages run at once, so that each takes its share of the machine
# The environment of one of several processes that run at once.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", CORES: "1"}


def set_threads(count: int) -> None:
    """Set torch's thread count and deterministic algorithms: another thread count gives different bits."""
    import torch

    torch.set_num_threads(count)
    # Same effect as use_deterministic_algorithms, which would import torch's compiler: seconds per stage.
    torch.set_deterministic_debug_mode("error")
    # The mode also fills every new tensor, to guard code that reads uninitialised memory: 6% of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda". Raises LsgmerError for cuda without a GPU."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise LsgmerError("runtime.device is cuda, but torch sees no GPU; set runtime.device to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def cores() -> int:
    """Return how many cores this process may use: those that the system allows, or fewer if LSGMER_CORES says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get(CORES, "")
    return min(allowed, int(asked)) if asked.isdecimal() and int(asked) else allowed


def encoding_processes(threads: int) -> int:
    """Return how many processes of `threads` threads encode features on the CPU: they use no more than all cores."""
    return max(1, cores() // threads)
