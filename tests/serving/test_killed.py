"""kill -9 of a worker and of the whole service under load: no answer that was given is missing from the log."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from lsgmer.core.paths import Workspace
from lsgmer.registry.model_card import PackageRecord
from lsgmer.service.log_report import find, verify
from lsgmer.service.prediction_log import PredictionLog
from tests.serving.test_service import WORDS
from tests.support.project import wait_for
from tests.support.server import Served, serve

CLIENTS = 4


class Load:
    """Clients that ask without pause, and the ids of the answers they got."""

    def __init__(self, url: str) -> None:
        self.url, self.answered = url, list[str]()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        while not self.stop.is_set():
            try:
                answer = httpx.post(f"{self.url}/predict", data={"text": WORDS}, timeout=20, trust_env=False)
            except httpx.HTTPError:
                self.stop.wait(0.05)
                continue
            if answer.status_code == 200:
                self.answered.append(answer.json()["request_id"])

    def end(self) -> list[str]:
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        return self.answered


def workers_of(served: Served) -> list[psutil.Process]:
    """Return the processes under the server's own, which load the model and answer."""
    return [
        p for p in psutil.Process(served.process.pid).children(recursive=True) if "bentoml" in " ".join(p.cmdline())
    ]


@pytest.mark.timeout(300)
def test_no_answer_is_missing_after_kill_9(packaged: tuple[Workspace, PackageRecord], tmp_path: Path) -> None:
    with serve(*packaged, tmp_path) as served:
        load = Load(served.url)
        assert wait_for(lambda: len(load.answered) > 20, 60)
        for worker in workers_of(served):
            worker.kill()
        count = len(load.answered)
        assert wait_for(lambda: len(load.answered) > count + 20, 90), "the worker came back"
        os.killpg(served.process.pid, signal.SIGKILL)
        answered = load.end()
    PredictionLog(served.log).close()  # as the next start does: an unfinished line is set aside and reported
    report = verify(served.log)
    assert not report.broken, report
    missing = [name for name in answered if not find(served.log, name)]
    assert not missing
    assert len(answered) > 40
