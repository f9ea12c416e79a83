"""Calls through a real service: turns found, emotions as for single files, live delays, speed and memory.

`python -m bench.calls` in a project with a champion and ../shared/data/nemo. The call has two channels, on which real
recordings lie at known times with pauses between them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.load import PORTS, memory_mib, running
from lsgmer.audio import decode
from lsgmer.core.paths import Workspace
from lsgmer.turns.turn import Turn

NEAR_S = 0.3
PIECE_S = 0.1
URL = f"http://127.0.0.1:{PORTS['service']}"


def make_call(path: Path, sources: Sequence[Path], seconds: float, seed: int = 3) -> list[Turn]:
    """Write a call of `seconds` with the `sources` on both channels in turn; return where each of them is."""
    rng = np.random.default_rng(seed)
    waves = [decode(source) for source in sources]
    rate = waves[0].sample_rate
    spare = seconds - sum(wave.duration_s for wave in waves)
    if spare <= 0:
        raise SystemExit(f"{len(sources)} recordings do not fit into {seconds} s")
    pauses = rng.uniform(0.7, 1.3, len(waves)) * spare / (len(waves) + 1)
    turns: list[Turn] = []
    at = 0
    with soundfile.SoundFile(path, "w", rate, 2, subtype="PCM_16") as file:  # piece by piece: hours fit
        for i, (wave, pause) in enumerate(zip(waves, pauses, strict=True)):
            file.write(np.zeros((round(pause * rate), 2), np.float32))
            piece = np.zeros((len(wave.samples), 2), np.float32)
            piece[:, i % 2] = wave.samples
            file.write(piece)
            start = at + round(pause * rate)
            at = start + len(piece)
            side = ("left", "right")[i % 2]
            turns.append(Turn(start_s=start / rate, end_s=at / rate, speaker=side, channel=i % 2))
        file.write(np.zeros((max(0, round(seconds * rate) - at), 2), np.float32))
    return turns


def analyse(path: Path, pid: int, fields: Mapping[str, str]) -> tuple[dict[str, Any], float, float]:
    """Return a job's result, how long it took and the service's largest memory (MiB) meanwhile."""
    with path.open("rb") as file:
        begun = httpx.post(f"{URL}/analyze", files={"audio": file}, data=fields, timeout=600, trust_env=False)
    if begun.status_code != 202:
        raise SystemExit(f"POST /analyze: {begun.status_code} {begun.text}")
    started, most = time.perf_counter(), 0.0
    while True:
        answer = httpx.get(f"{URL}{begun.headers['location']}", timeout=60, trust_env=False).json()
        most = max(most, memory_mib(pid))
        if answer["status"] not in ("queued", "running"):
            if answer["status"] != "done":
                raise SystemExit(f"the analysis {answer['status']}: {answer['error']}")
            return answer["result"], time.perf_counter() - started, most
        time.sleep(0.2)


def near(found: Mapping[str, Any], known: Turn) -> bool:
    """Return whether both ends are within 0.3 s, on the same channel."""
    ends = abs(found["start_s"] - known.start_s) < NEAR_S and abs(found["end_s"] - known.end_s) < NEAR_S
    return bool(ends and found["channel"] == known.channel)


def single_files(sources: Sequence[Path], turns: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
    """Return how many turns have the emotion that their file has alone, and the largest difference in probability."""
    same, most = 0, 0.0
    for source, turn in zip(sources, turns, strict=True):
        with source.open("rb") as file:
            alone = httpx.post(f"{URL}/predict", files={"audio": file}, timeout=60, trust_env=False).json()
        same += alone["emotion"] == turn["emotion"]
        most = max(most, *(abs(p - turn["probabilities"][name]) for name, p in alone["probabilities"].items()))
    return same, most


def stream(path: Path, delays: list[float], turns: list[dict[str, Any]]) -> None:
    """Send a recording to /live in real time; note each turn, and how long after its end it came."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    size = round(PIECE_S * rate)
    with connect(f"{URL.replace('http', 'ws')}/live?rate={rate}&channels=2", proxy=None) as socket:
        began = time.monotonic()

        def listen() -> None:
            try:
                for message in socket:
                    event = json.loads(message)
                    if event["type"] == "turn":
                        delays.append(time.monotonic() - began - event["turn"]["end_s"])
                        turns.append(event["turn"])
            except ConnectionClosed:
                pass

        listener = threading.Thread(target=listen)
        listener.start()
        for at in range(0, len(samples), size):
            time.sleep(max(0.0, began + (at + size) / rate - time.monotonic()))
            socket.send(samples[at : at + size].tobytes())
        socket.send('{"end": true}')
        listener.join(60)


def compare_live(path: Path, recorded: Sequence[Mapping[str, Any]], sessions: int) -> None:
    """Stream the call `sessions` times at once, and compare with the analysis of the recording."""
    delays: list[float] = []
    heard: list[list[dict[str, Any]]] = [[] for _ in range(sessions)]
    threads = [threading.Thread(target=stream, args=(path, delays, turns)) for turns in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    delays.sort()
    late = sum(delay > 1 for delay in delays)
    for turns in heard:
        by_start = sorted(turns, key=lambda turn: (turn["start_s"], turn["end_s"], turn["speaker"]))
        pairs = list(zip(by_start, recorded, strict=True))
        same = sum(live["emotion"] == known["emotion"] for live, known in pairs)
        times = sum((live["start_s"], live["end_s"]) == (known["start_s"], known["end_s"]) for live, known in pairs)
        print(f"live: {same} of {len(pairs)} emotions and {times} times as in the recording", flush=True)
    print(
        f"live, {sessions} at once: delay after a turn's end p50 {statistics.median(delays):.2f} s, "
        f"largest {delays[-1]:.2f} s, {late} of {len(delays)} later than 1 s",
        flush=True,
    )


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path.cwd())
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nemo"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the call")
    parser.add_argument("--turns", type=int, default=53, help="recordings in the call")
    parser.add_argument("--live", type=int, default=0, help="sessions that stream the call at once, in real time")
    parser.add_argument("--transcribe", action="store_true", help="the service must have LSGMER_SERVICE_TRANSCRIBE")
    given = parser.parse_args()
    files = sorted(given.data.rglob("*.flac"))
    if not files:
        raise SystemExit(f"{given.data}: no FLAC files; name a folder of recordings with --data")
    sources = [files[i * len(files) // given.turns % len(files)] for i in range(given.turns)]
    with tempfile.TemporaryDirectory(prefix="lsgmer-bench-") as name:
        path, seconds = Path(name) / "call.flac", 60 * given.minutes
        known = make_call(path, sources, seconds)
        with running("service", Workspace(given.workspace.resolve())) as pid:
            before = memory_mib(pid)
            fields = {"transcribe": "true"} if given.transcribe else {}
            found, took, most = analyse(path, pid, fields)
            hits = sum(any(near(turn, one) for turn in found["timeline"]) for one in known)
            print(f"{given.minutes:g} minutes in {took:.1f} s: {seconds / took:.0f} x real time", flush=True)
            print(f"memory {before:.0f} MiB before, {most:.0f} MiB at most", flush=True)
            print(f"turns: {hits} of {len(known)} found within {NEAR_S} s; {len(found['timeline'])} in all", flush=True)
            if given.transcribe:
                words = sum(bool(turn["text"]) for turn in found["timeline"])
                print(f"words were written for {words} of {len(found['timeline'])} turns", flush=True)
            turns = json.dumps([turn.model_dump(mode="json", exclude={"automatic"}) for turn in known])
            exact, took, _ = analyse(path, pid, {"turns": turns})
            same, difference = single_files(sources, exact["timeline"])
            print(
                f"given turns, {took:.1f} s: {same} of {len(known)} emotions as for the single files, "
                f"probabilities within {difference:.1e}",
                flush=True,
            )
            if given.live:
                compare_live(path, found["timeline"], given.live)


if __name__ == "__main__":
    main()
