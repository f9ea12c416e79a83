"""prefect.yaml on a real server with PostgreSQL: a scheduled run on the process pool, and one on the GPU pool."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lsgmer.workspace.prefect_server import answers
from tests.flows.fake_pipeline import PROJECT, make_workspace
from tests.support import postgres
from tests.support.s3 import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(postgres.programs() is None, reason="needs PostgreSQL: apt-get install postgresql"),
]
PREFECT = [sys.executable, "-m", "prefect"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The fake pipeline with our flows and prefect.yaml; its schedule fires every 10 s rather than on Mondays."""
    root = make_workspace(tmp_path / "workspace")
    shutil.copytree(PROJECT / "flows", root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    text = (PROJECT / "prefect.yaml").read_text()
    assert text.count('cron: "0 3 * * 1"') == 2
    (root / "prefect.yaml").write_text(text.replace('cron: "0 3 * * 1"', "interval: 10"))
    return root


@contextmanager
def started(log: Path, root: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start `prefect ARGUMENTS` in `root`; end it as Ctrl-C does."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [*PREFECT, *arguments], cwd=root, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_run(url: str, pool: str, log: Path, limit_s: float = 240) -> dict[str, Any]:
    """Return the first finished `retrain` run of `pool` that was not cancelled for overlapping."""
    query = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = httpx.post(f"{url}/flow_runs/filter", json=query, trust_env=False).raise_for_status().json()
        for run in found:
            if run["work_pool_name"] == pool:
                return dict(run)
        time.sleep(0.5)
    raise AssertionError(log.read_text())


async def rows(database: str, query: str) -> list[tuple[Any, ...]]:
    import asyncpg

    connection = await asyncpg.connect(database.replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def test_a_schedule_and_a_gpu_pool_retrain_with_postgres_behind_the_server(root: Path, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PWD": str(root), "DO_NOT_TRACK": "1"}
    with postgres.serve() as database:
        server = {**environment, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
        log = tmp_path / "server.log"
        with started(log, root, server, "server", "start", "--host", "127.0.0.1", "--port", str(port)) as process:
            end = time.monotonic() + 180
            while not answers(url):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.3)
            client = {**environment, "PREFECT_API_URL": url, "PREFECT_WORKER_QUERY_SECONDS": "2"}
            use_pools(root, url, client, tmp_path)
            found = asyncio.run(rows(database, "select name, state_name from flow_run where state_type = 'COMPLETED'"))
            assert "database is locked" not in log.read_text()
    names = {name for _, name in found}
    assert {"Completed", "Unchanged"} <= names
    assert not list((root / ".prefect").glob("*.db"))  # nothing went to SQLite


def use_pools(root: Path, url: str, environment: dict[str, str], logs: Path) -> None:
    """Create the pools and deploy, as docs/scaling.md says; let the schedule fire on one, start a run on the other."""

    def prefect(*arguments: str) -> None:
        command = subprocess.run(
            [*PREFECT, *arguments], cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert command.returncode == 0, command.stdout + command.stderr

    for pool in ("lsgmer", "lsgmer-gpu"):
        prefect("work-pool", "create", pool, "--type", "process")
    prefect("--no-prompt", "deploy", "--all")
    with started(logs / "worker.log", root, environment, "worker", "start", "--pool", "lsgmer"):
        run = wait_for_run(url, "lsgmer", logs / "worker.log")
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Completed"), run["state"]
    assert run["auto_scheduled"]
    record = json.loads(min((root / "runs").glob("*/run.json")).read_text())
    assert (record["state"], record["message"]) == ("Completed", run["state"]["message"])
    prefect("deployment", "run", "retrain/gpu")
    with started(logs / "gpu.log", root, environment, "worker", "start", "--pool", "lsgmer-gpu"):
        run = wait_for_run(url, "lsgmer-gpu", logs / "gpu.log")
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Unchanged"), run["state"]
