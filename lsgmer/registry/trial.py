"""Smoke test of a built Bento: start it and send it one request; a model that cannot answer is not promoted."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from lsgmer.core.errors import PackagingRefused
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import end_tree, identity, our_environment
from lsgmer.core.records import Modality
from lsgmer.registry.champions import bento_folder

START_S = 180.0
ANSWER_S = 60.0
STOP_S = 10.0
FAILED = b"Application startup failed"  # printed by uvicorn
WORDS = "I can not believe it"
RATE = 16_000


def ask(workspace: Workspace, tag: str, modalities: tuple[Modality, ...]) -> None:
    """Serve the Bento `tag` on a free local port, send it one request with what its model reads, and stop it.

    Raises PackagingRefused, with the server's last lines, when it does not start, does not answer within
    `ANSWER_S` seconds, or answers with anything but a prediction that carries its tag.
    """
    with tempfile.TemporaryDirectory(prefix="lsgmer-trial-") as name:
        log = Path(name) / "server.log"
        with _server(workspace, tag, log) as (process, url):
            try:
                _wait(process, url, log)
                files = {"audio": ("question.wav", question(), "audio/wav")} if "audio" in modalities else None
                data = {"text": WORDS} if "text" in modalities else None
                answer = httpx.post(f"{url}/predict", files=files, data=data, timeout=ANSWER_S, trust_env=False)
                _check(answer, tag)
            except (_Wrong, httpx.HTTPError) as error:
                lines = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
                raise PackagingRefused(
                    f"{tag}: the finished Bento was started and sent one request, but could not answer: {error}\n"
                    f"{lines}\nFix what its last lines say, then run the same command again"
                ) from None


def serve_command(bento: Path, host: str, port: int) -> list[str]:
    """Return the command that serves the Bento in folder `bento`.

    It names the folder, never the tag: BentoML first reads NAME:VERSION as MODULE:ATTRIBUTE and imports the module
    `lsgmer` from wherever it finds it, so that the project's code would answer instead of the Bento's.
    """
    return [sys.executable, "-m", "bentoml", "serve", str(bento.resolve()), "--host", host, "--port", str(port)]


def question() -> bytes:
    """Return one second of synthetic, voice-like sound as WAV: harmonics of a falling pitch, in syllables."""
    seconds = np.arange(RATE) / RATE
    phase = 2 * np.pi * np.cumsum(160 - 40 * seconds) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    samples = 0.2 * tone * np.sin(4 * np.pi * seconds) ** 2
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return content.getvalue()


class _Wrong(Exception):
    """What was wrong with the answer, or why there was none."""


@contextmanager
def _server(workspace: Workspace, tag: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Yield a `bentoml serve` in its own process group, and its address; always end the group afterwards."""
    note = workspace.scratch / "trial.json"
    with suppress(OSError, ValueError, KeyError):
        end_tree(json.loads(note.read_text())["process"])  # left by a stage that was killed
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = serve_command(bento_folder(workspace, tag), "127.0.0.1", port)
    environment = {**our_environment(), "BENTOML_HOME": str(workspace.bentos)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        write_atomically(note, json.dumps({"process": identity(process.pid)}))
        yield process, f"http://127.0.0.1:{port}"
    finally:
        _end(process)
        note.unlink(missing_ok=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_S)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return when the server is ready. BentoML restarts a worker that fails for ever, so the first failure counts."""
    deadline = time.monotonic() + START_S
    while True:
        if process.poll() is not None:
            raise _Wrong(f"the server ended with code {process.returncode}")
        if FAILED in log.read_bytes():
            raise _Wrong("its worker did not start")
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        if time.monotonic() > deadline:
            raise _Wrong(f"it was not ready within {START_S:.0f} s")
        time.sleep(0.2)


def _check(answer: httpx.Response, tag: str) -> None:
    if answer.status_code != 200:
        raise _Wrong(f"status {answer.status_code}: {answer.text[:300]}")
    try:
        content: dict[str, Any] = answer.json()
        total, named = sum(content["probabilities"].values()), content["model_version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Wrong(f"its answer is not a prediction ({error!r}): {answer.text[:300]}") from None
    if named != tag or not abs(total - 1) < 1e-6:
        raise _Wrong(f"it answers as {named} with probabilities that sum to {total}")
