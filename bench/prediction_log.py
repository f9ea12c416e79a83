"""Time appending to one prediction log and verifying it: python -m bench.prediction_log.

Prints, with and without waiting for the disk, how many lines per second 1, 2 and 4 processes append together, how long
one append takes, and how many lines per second `verify` reads.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lsgmer.service.entries import Inputs, Output, PredictionEntry
from lsgmer.service.log_report import verify
from lsgmer.service.prediction_log import PredictionLog

LABELS = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
ENTRY = PredictionEntry(
    request_id="3f0e8b5c-6f0a-4b7e-9f54-0b7f2ad1c111",
    route="/predict",
    status=200,
    inputs=Inputs(audio_sha256="0" * 64, text_hmac=f"{'0' * 8}:{'0' * 64}"),
    output=Output(emotion="sad", probabilities=dict.fromkeys(LABELS, 1 / 7), consistency=0.912345678901),
    latency_ms=41.234,
    model_version="lsgmer:0123456789abcdef",
    key="web",
)


def append(folder: Path, count: int, sync: bool) -> None:
    """Append `count` lines once told to start; print the median and the 99th percentile of one append in us."""
    log = PredictionLog(folder, sync=sync)
    print("ready", flush=True)
    sys.stdin.readline()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        log.append(ENTRY)
        times.append(1e6 * (time.perf_counter() - began))
    times.sort()
    print(f"{times[count // 2]:.0f}/{times[count * 99 // 100]:.0f}")


def measure(processes: int, count: int, sync: bool) -> None:
    """Run `processes` at once and print a line about them."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # on a disk, which /tmp may not be
        command = [sys.executable, "-m", "bench.prediction_log", f"{folder}/log", str(count), str(int(sync))]
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        began = time.perf_counter()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        each = [process.communicate()[0].strip() for process in running]
        rate, began = processes * count / (time.perf_counter() - began), time.perf_counter()
        report = verify(Path(folder) / "log")
        assert report.broken is None
        read = report.lines / (time.perf_counter() - began)
    print(
        f"sync {sync!s:5} {processes} process(es): {rate:.0f} lines/s, median/p99 us {each}, verify {read:.0f} lines/s"
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        append(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")
    else:
        for waits, lines in ((False, 20_000), (True, 500)):
            for together in (1, 2, 4):
                measure(together, lines, waits)
