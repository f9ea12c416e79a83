"""Scheduled retraining: a real server, a real schedule, and the papers, log lines and webhook calls it leaves."""

from __future__ import annotations

import json
import queue
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

from flows import records
from flows.pull import RETRY_DELAYS_S, absent, imports, is_outside
from flows.retrain import retrain
from lsgmer.core.paths import Workspace
from lsgmer.workspace.lock import exclusive
from tests.flows.fake_pipeline import PROJECT, lsgmer, set_knobs


@pytest.fixture
def webhook() -> Iterator[tuple[str, queue.SimpleQueue[dict[str, Any]]]]:
    """An HTTP server that takes POSTs: its address, and what it got."""
    got: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    taker = HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=taker.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{taker.server_port}/hook", got
    taker.shutdown()
    taker.server_close()


def runs(root: Path) -> list[dict[str, Any]]:
    """Return every run.json, oldest first."""
    return [json.loads(path.read_text()) for path in sorted((root / "runs").glob("*/run.json"))]


def wait_for_state(root: Path, state: str, timeout_s: float = 120) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for run in runs(root):
            if run["state"] == state:
                return run
        time.sleep(0.3)
    raise AssertionError(f"no run ended {state}: {runs(root)}")


def spare_the_migrations(root: Path) -> None:
    """Give the workspace's server a copy of this session's database: an empty one takes half a minute to make."""
    source = str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition("///")[2]
    (root / ".prefect").mkdir(exist_ok=True)
    with sqlite3.connect(source) as live, sqlite3.connect(root / ".prefect/prefect.db") as copy:
        live.backup(copy)


def test_failure_leaves_papers_a_log_line_and_a_call(done: Path, webhook: Any) -> None:
    url, got = webhook
    set_knobs(done, exit_code=1, message="the roof is on fire")
    state = retrain(str(done), url, return_state=True)
    assert state.type == "FAILED"
    [run] = runs(done)
    assert run["state"] == "Failed"
    assert "the roof is on fire" in run["message"]
    assert got.get(timeout=5) == run
    folder = done / "runs" / run["id"]
    assert {p.name for p in folder.iterdir()} == {"run.json", "report.md", "dvc.lock", "params.yaml", "costs.json"}
    spent = {line["stage"]: line for line in json.loads((folder / "costs.json").read_text())["stages"]}
    assert (spent["train"]["cost"]["run"], spent["train"]["cost"]["completed"]) == (run["id"], False)
    assert spent["train"]["before"]["completed"]
    assert spent["make@sample"]["skipped"] == "skipped: up to date"
    assert spent["gate"]["skipped"] == "not reached"
    assert "| train | " in (folder / "report.md").read_text()
    (line,) = (done / ".lsgmer/events.log").read_text().splitlines()
    assert json.loads(line)["state"] == "Failed"


def test_unchanged_keeps_papers_and_tells_nobody(done: Path, webhook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url, got = webhook
    state = retrain(str(done), url, return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Unchanged")
    run = runs(done)[0]
    names = {p.name for p in (done / "runs" / run["id"]).iterdir()}
    results = {"metrics.json", "gate.json", "package.json"}
    assert names == {"run.json", "report.md", "dvc.lock", "params.yaml", "costs.json", *results}
    assert run["bento"] == run["champion"]
    assert got.empty()
    assert "──" not in capsys.readouterr().out  # no stage was started
    assert not (done / ".lsgmer/events.log").exists()


def test_webhook_that_is_down_is_reported_not_raised(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = records.write(Workspace(done), "x", records.now(), "Failed", "why", [])
    assert not records.call_webhook("http://127.0.0.1:9/none", record)
    assert "did not accept the message" in capsys.readouterr().err


def test_schedule_on_a_real_server(done: Path, webhook: Any) -> None:
    """It fires, is refused while another run holds the workspace, is rejected by the gate, and stops clean."""
    url, got = webhook
    (done / "verdict.txt").write_text("REJECT")
    spare_the_migrations(done)
    with exclusive(Workspace(done), "a run by hand"):
        process = lsgmer(done, "schedule", "--every", "3", "--webhook", url)
        try:
            refused = wait_for_state(done, "Refused")
        except BaseException:
            process.kill()
            raise
    try:
        assert "a run by hand" in refused["message"]
        rejected = wait_for_state(done, "Rejected")
        assert got.get(timeout=10)["id"] == rejected["id"]
        server = json.loads((done / ".lsgmer/server.json").read_text())
        query = {"flow_runs": {"state": {"type": {"any_": ["CANCELLED", "COMPLETED"]}}}}
        states = httpx.post(f"{server['url']}/flow_runs/filter", json=query).json()
        messages = [run["state"]["message"] or "" for run in states]
        assert any("oncurrency limit" in message for message in messages), messages  # an overlapping one
        assert {"Refused", "Rejected"} <= {run["state"]["name"] for run in states}
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        process.kill()
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert not (done / ".lsgmer/server.json").exists()
    first = (done / ".lsgmer/events.log").read_text().splitlines()[0]
    assert json.loads(first)["state"] == "Refused"


def test_only_imports_are_updated_and_only_absent_data_is_fetched(tmp_path: Path) -> None:
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    (raw / "here").mkdir()
    (raw / "here.dvc").write_text("outs:\n- md5: a\n  path: here\n")
    (raw / "pulled.dvc").write_text("frozen: true\ndeps:\n- path: https://x.org/y\nouts:\n- md5: b\n  path: pulled\n")
    assert imports(tmp_path) == [raw / "pulled.dvc"]
    assert absent(tmp_path) == [raw / "pulled.dvc"]


def test_only_outside_errors_are_tried_again() -> None:
    from flows.stage_process import OutsideFailed, StageFailed

    assert RETRY_DELAYS_S
    for error, again in ((OutsideFailed("no route"), True), (StageFailed("bad data"), False), (ValueError("x"), False)):

        class Ended:
            def result(self, raise_on_failure: bool, error: Exception = error) -> Exception:
                return error

        assert is_outside(None, None, Ended()) is again  # type: ignore[arg-type]


def test_both_work_pools_deploy_the_same_flow_and_one_of_them_on_a_schedule() -> None:
    from ruamel.yaml import YAML

    deployments = YAML(typ="safe").load(PROJECT / "prefect.yaml")["deployments"]
    assert [deployment["work_pool"]["name"] for deployment in deployments] == ["lsgmer", "lsgmer-gpu"]
    assert [schedule["active"] for deployment in deployments for schedule in deployment["schedules"]] == [True, False]
    for deployment in deployments:
        path, _, name = deployment["entrypoint"].partition(":")
        assert (PROJECT / path).is_file()
        assert name == retrain.name
        assert set(deployment["parameters"]) <= set(retrain.parameters.properties)
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
