"""The served champion against plain FastAPI and uvicorn around the same predictor: latency and throughput, interleaved.

`python -m bench.load` in a project with a champion. Both servers run one process with one prediction thread of one
torch thread; the client is asyncio over raw sockets, in a process of its own, on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from lsgmer.core.paths import Workspace
from lsgmer.registry import champions
from lsgmer.registry.trial import serve_command
from lsgmer.service.settings import PREFIX

ROOT = Path(__file__).parents[1]
PORTS = {"service": 3971, "control": 3972}
BOUNDARY = "lsgmer-bench"


def requests_of(workspace: Workspace, count: int) -> list[bytes]:
    """Return whole HTTP requests with audio and words of the sample's test split."""
    folder = workspace.root / "data/raw/sample"
    with (folder / "utterances.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["audio"] and row["text"]]
    return [_request((folder / row["audio"]).read_bytes(), row["text"]) for row in rows[:count]]


def _request(audio: bytes, text: str) -> bytes:
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="text"\r\n\r\n{text}\r\n--{BOUNDARY}\r\n'
    head += 'content-disposition: form-data; name="audio"; filename="a.flac"\r\ncontent-type: audio/flac\r\n\r\n'
    body = head.encode() + audio + f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = (
        "POST /predict HTTP/1.1",
        "host: 127.0.0.1",
        f"content-type: multipart/form-data; boundary={BOUNDARY}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def running(name: str, workspace: Workspace) -> Iterator[int]:
    """Yield the process id of one of the two servers, once it is ready."""
    champion = champions.read(workspace)
    if champion is None:
        raise SystemExit("no champion here: `lsgmer run` makes one")
    bento = champions.bento_folder(workspace, champion.tag)
    log = workspace.scratch / "bench-predictions"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "BENTOML_HOME": str(workspace.bentos),
        "BENTOML_DO_NOT_TRACK": "True",
        f"{PREFIX}LOG": str(log),
        "LSGMER_BENCH_BENTO": str(bento / "src"),
        "PYTHONPATH": str(ROOT),
    }
    command = serve_command(bento, "127.0.0.1", PORTS["service"])
    if name == "control":
        command = [sys.executable, "-m", "uvicorn", "bench.fastapi_control:app", "--port", str(PORTS["control"])]
        command += ["--log-level", "warning"]
    else:
        del environment["PYTHONPATH"]
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=workspace.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{PORTS[name]}/readyz", timeout=2, trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.perf_counter() - started > 120:
                raise SystemExit(f"the {name} did not start")
            time.sleep(0.1)
        print(f"{name}: ready after {time.perf_counter() - started:.1f} s", flush=True)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


async def load(port: int, bodies: list[bytes], clients: int, seconds: float) -> tuple[list[float], Counter[int]]:
    """Return the latencies in seconds of the answers with status 200, and the count of each status."""
    latencies, statuses = list[float](), Counter[int]()
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        while time.perf_counter() < end:
            asked = time.perf_counter()
            writer.write(bodies[turn % len(bodies)])
            turn += 7
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            statuses[status] += 1
            if status == 200:
                latencies.append(time.perf_counter() - asked)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return latencies, statuses


def memory_mib(pid: int) -> float:
    """Return the resident memory of a server and its children."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20


def main() -> None:
    """Print a table of both servers at each number of clients, medians over rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path.cwd())
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=0, help="instead: requests to send the service, and its memory")
    given = parser.parse_args()
    workspace = Workspace(given.workspace.resolve())
    bodies = requests_of(workspace, 200)
    if given.memory:
        _memory(workspace, bodies, given.memory)
        return
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {len(bodies)} utterances", flush=True)
    print("clients  server   requests/s  p50 ms  p99 ms  statuses", flush=True)
    with running("service", workspace), running("control", workspace):
        for clients in map(int, given.clients.split(",")):
            _compare(bodies, clients, given.seconds, given.rounds)


def _compare(bodies: list[bytes], clients: int, seconds: float, rounds: int) -> None:
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in PORTS}
    statuses = {name: Counter[int]() for name in PORTS}
    for turn in range(rounds):
        for name in sorted(PORTS, reverse=bool(turn % 2)):
            latencies, seen = asyncio.run(load(PORTS[name], bodies, clients, seconds))
            latencies.sort()
            p50, p99 = (1000 * latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.99))
            found[name].append((len(latencies) / seconds, p50, p99))
            statuses[name] += seen
    middle = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    for name, (rate, p50, p99) in middle.items():
        print(f"{clients:>7}  {name:<8} {rate:>9.1f} {p50:>8.0f} {p99:>7.0f}  {dict(statuses[name])}", flush=True)
    ratios = [[ours / theirs for ours, theirs in zip(a, b, strict=True)] for a, b in zip(*found.values(), strict=True)]
    named = [f"{statistics.median(column):.2f}" for column in zip(*ratios, strict=True)]
    print(f"{clients:>7}  ratio    {named[0]:>9} {named[1]:>8} {named[2]:>7}", flush=True)


def _memory(workspace: Workspace, bodies: list[bytes], count: int) -> None:
    with running("service", workspace) as pid:
        sent, step = 0, max(1, count // 10)
        while sent < count:
            statuses = Counter[int]()
            while statuses.total() < step:
                statuses += asyncio.run(load(PORTS["service"], bodies, 16, 5.0))[1]
            sent += statuses.total()
            print(f"{sent:>6} requests  {memory_mib(pid):.0f} MiB  {dict(statuses)}", flush=True)


if __name__ == "__main__":
    main()
