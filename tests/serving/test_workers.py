"""Several processes of one service: they share the log, the keys and the jobs, and each answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lsgmer.core.paths import Workspace
from lsgmer.registry.model_card import PackageRecord
from lsgmer.service.log_report import find, verify
from tests.serving.test_calls import start, status, wait
from tests.serving.test_killed import workers_of
from tests.serving.test_service import WORDS
from tests.support.calls import make_call, recordings
from tests.support.server import serve


def test_two_workers_are_one_service(packaged: tuple[Workspace, PackageRecord], tmp_path: Path) -> None:
    make_call(tmp_path / "call.flac", recordings(4), 15.0)
    with serve(*packaged, tmp_path, LSGMER_SERVICE_WORKERS="2", LSGMER_SERVICE_JOBS="") as served:
        assert len([p for p in workers_of(served) if "worker" in " ".join(p.cmdline())]) == 2
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: served.post(data={"text": WORDS}).json(), range(40)))
        for answer in answers:  # alone or in a batch
            assert answer["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-6)
        name = start(served, tmp_path / "call.flac").json()["job_id"]
        assert wait(served, name)["status"] == "done"
        for _ in range(10):
            assert status(served, name)["status"] == "done"
        about = {"request_id": answers[0]["request_id"], "label": answers[0]["emotion"]}
        for _ in range(4):
            assert httpx.post(f"{served.url}/feedback", json=about, trust_env=False).status_code == 201
    assert verify(served.log).broken is None
    assert all(find(served.log, answer["request_id"]) for answer in answers)
