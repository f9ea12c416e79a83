"""Entries for prediction logs, and processes that write them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lsgmer.service.entries import Inputs, Output, PredictionEntry

MODEL = "lsgmer:0123456789abcdef"
WRITER = """
import os, sys
from pathlib import Path
from lsgmer.service.prediction_log import PredictionLog
from tests.support.logs import entry
folder, name, count, size, fork = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
log = PredictionLog(folder, max_bytes=size)
child = os.fork() if fork else 0
name += "-parent" if child else ""
for i in range(count):
    said = log.append(entry(f"{name}-{i}", labels=i % 7 * 400))
    os.write(1, f"{name}-{i} {said}\\n".encode())
if child:
    os.waitpid(child, 0)
"""


def entry(request_id: str, model: str = MODEL, labels: int = 2) -> PredictionEntry:
    """A prediction of as many labels; several hundred make a line of several pages, which a kill can tear."""
    output = Output(emotion="sad", probabilities={f"label {i}": 0.5 for i in range(labels)}, consistency=0.9)
    return PredictionEntry(
        request_id=request_id,
        route="/predict",
        status=200,
        inputs=Inputs(audio_sha256="0" * 64, speaker=True),
        output=output,
        latency_ms=12.5,
        model_version=model,
        key="web",
    )


def writer(folder: Path, name: str, count: int, size: int, fork: bool = False) -> subprocess.Popen[str]:
    """Start a process (with `fork`, two) that appends `count` entries NAME-i and prints each one's hash."""
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count), str(size), str(int(fork))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def lines_of(folder: Path) -> list[tuple[str, int, bytes]]:
    """Return every line of a log with its file and number."""
    files = sorted(folder.glob("log-*.jsonl"))
    return [
        (file.name, i, line) for file in files for i, line in enumerate(file.read_bytes().splitlines(True), start=1)
    ]
