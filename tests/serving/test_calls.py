"""POST /analyze: calls are analysed as jobs that can be watched, cancelled, refused, and resumed after kill -9."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from lsgmer.conversations.records import Analysis
from lsgmer.core.paths import Workspace
from lsgmer.registry.model_card import PackageRecord
from lsgmer.service.keys import add
from lsgmer.service.log_report import verify
from lsgmer.turns.turn import Turn
from tests.support.calls import make_call, recordings
from tests.support.project import wait_for
from tests.support.server import Served, serve


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Turn]]:
    """A call of 90 seconds with 12 real recordings, and where they are."""
    path = tmp_path_factory.mktemp("call") / "call.flac"
    return path, make_call(path, recordings(12), 90.0)


@pytest.fixture(scope="module")
def long_call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call of 25 minutes, which takes long enough to be stopped."""
    path = tmp_path_factory.mktemp("call") / "long.flac"
    make_call(path, recordings(265) * 2, 1500.0)
    return path


def start(served: Served, path: Path, **fields: Any) -> httpx.Response:
    with path.open("rb") as file:
        return httpx.post(f"{served.url}/analyze", files={"audio": file}, data=fields, timeout=60, trust_env=False)


def status(served: Served, name: str) -> dict[str, Any]:
    answer = httpx.get(f"{served.url}/analyze/{name}", timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def wait(served: Served, name: str, seconds: float = 60) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(status(served, name))
        return found["status"] not in ("queued", "running")

    assert wait_for(ended, seconds), found
    return found


def as_json(turns: list[Turn]) -> str:
    return "[" + ",".join(turn.model_dump_json(exclude_none=True, exclude={"automatic"}) for turn in turns) + "]"


def test_a_call_becomes_a_timeline(served: Served, call: tuple[Path, list[Turn]]) -> None:
    begun = start(served, call[0], speakers='["agent", "customer"]')
    assert begun.status_code == 202, begun.text
    name = begun.json()["job_id"]
    assert begun.headers["location"] == f"/analyze/{name}"
    ended = wait(served, name)
    assert ended["status"] == "done", ended["error"]
    analysis = Analysis.model_validate(ended["result"])
    assert len(analysis.timeline) == len(call[1])
    for found, known in zip(analysis.timeline, call[1], strict=True):
        assert abs(found.start_s - known.start_s) < 0.35
        assert abs(found.end_s - known.end_s) < 0.35
        assert found.channel == known.channel
        assert found.speaker == ("agent", "customer")[found.channel or 0]
        assert found.emotion in served.labels
    assert analysis.turns_from == "voice activity"
    assert sum((analysis.summary.shares or {}).values()) == pytest.approx(1)
    assert not list((served.log.parent / "jobs" / name).glob("upload")), "the recording is deleted when it is done"
    assert verify(served.log).broken is None


def test_given_turns_are_taken_as_they_are(served: Served, call: tuple[Path, list[Turn]]) -> None:
    ended = wait(served, start(served, call[0], turns=as_json(call[1])).json()["job_id"])
    analysis = Analysis.model_validate(ended["result"])
    assert [(t.start_s, t.end_s, t.speaker) for t in analysis.timeline] == [
        (t.start_s, t.end_s, t.speaker) for t in call[1]
    ]
    assert analysis.turns_from == "given"


@pytest.mark.parametrize(
    ("fields", "status_code", "said"),
    [
        ({"turns": "[]"}, 400, "no turn"),
        ({"turns": "{"}, 400, "turns: JSON"),
        ({"turns": "[" * 100_000}, 400, "turns: JSON"),
        ({"turns": '[{"start_s": 3, "end_s": 1, "speaker": "a"}]'}, 400, "not after"),
        ({"turns": "x", "turns_format": "docx"}, 400, "rttm"),
        ({"speakers": "agent"}, 400, "JSON list"),
        ({"speakers": '["a", "a"]'}, 400, "same name"),
        ({"negative": '["furious"]'}, 400, "furious"),
        ({"transcribe": "perhaps"}, 400, "true or false"),
        ({"sound": "x"}, 400, "unknown field"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    fields: dict[str, str], status_code: int, said: str, served: Served, call: tuple[Path, list[Turn]]
) -> None:
    answer = start(served, call[0], **fields)
    assert answer.status_code == status_code, answer.text
    assert said in answer.json()["error"]


def test_a_call_that_cannot_be_read_fails_with_its_reason(served: Served, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not audio")
    ended = wait(served, start(served, tmp_path / "notes.wav").json()["job_id"])
    assert ended["status"] == "failed"
    assert ended["error"].startswith("audio: undecodable")
    assert str(served.log.parent) not in ended["error"]


def test_turns_beyond_the_end_are_named(served: Served, call: tuple[Path, list[Turn]]) -> None:
    late = [Turn(start_s=10.0, end_s=12.0, speaker="a"), Turn(start_s=400.0, end_s=402.0, speaker="a")]
    ended = wait(served, start(served, call[0], turns=as_json(late)).json()["job_id"])
    assert ended["status"] == "failed"
    assert "turn 2" in ended["error"]


def test_there_is_no_job_by_another_name(served: Served) -> None:
    for name in ("0" * 32, "x..", "..%2f..", "job"):
        assert httpx.get(f"{served.url}/analyze/{name}", trust_env=False).status_code == 404
        assert httpx.delete(f"{served.url}/analyze/{name}", trust_env=False).status_code in (404, 405)


def test_a_job_is_cancelled_and_then_deleted_and_requests_are_answered_meanwhile(
    served: Served, long_call: Path
) -> None:
    name = start(served, long_call).json()["job_id"]
    assert wait_for(lambda: status(served, name)["stage"] == "predicting", 60)
    began = time.monotonic()
    assert served.post(data={"text": "I can not believe it"}).status_code == 200
    assert time.monotonic() - began < 2
    assert httpx.delete(f"{served.url}/analyze/{name}", trust_env=False).status_code == 204
    assert wait(served, name)["status"] == "cancelled"
    assert httpx.delete(f"{served.url}/analyze/{name}", trust_env=False).status_code == 204
    assert httpx.get(f"{served.url}/analyze/{name}", trust_env=False).status_code == 404


def test_a_killed_service_resumes_the_job(
    packaged: tuple[Workspace, PackageRecord], tmp_path: Path, long_call: Path
) -> None:
    with serve(*packaged, tmp_path) as served:
        name = start(served, long_call).json()["job_id"]
        lines = tmp_path / "jobs" / name / "steps/timeline.jsonl"
        assert wait_for(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 10, 60)
        os.killpg(served.process.pid, signal.SIGKILL)
    done = lines.read_bytes().rpartition(b"\n")[0]
    with serve(*packaged, tmp_path) as served:
        ended = wait(served, name, 120)
    assert ended["status"] == "done", ended["error"]
    assert len(ended["result"]["timeline"]) > 400
    assert [turn["index"] for turn in ended["result"]["timeline"]] == list(range(len(ended["result"]["timeline"])))
    kept = done.count(b"\n") + 1
    assert kept < len(ended["result"]["timeline"]), "it was killed before its end"
    assert verify(tmp_path / "predictions").broken is None


def test_only_so_many_wait(packaged: tuple[Workspace, PackageRecord], tmp_path: Path, long_call: Path) -> None:
    with serve(*packaged, tmp_path, LSGMER_SERVICE_MAX_JOBS="1", LSGMER_SERVICE_MAX_CALL_MIB="40") as served:
        assert start(served, long_call, transcribe="true").status_code == 409, "it writes no words"
        name = start(served, long_call).json()["job_id"]
        refused = start(served, long_call)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        httpx.delete(f"{served.url}/analyze/{name}", trust_env=False)
        assert wait(served, name)["status"] == "cancelled"
        (tmp_path / "big.wav").write_bytes(bytes(41 * 2**20))
        assert start(served, tmp_path / "big.wav").status_code == 413
    assert [path.name for path in (tmp_path / "jobs").iterdir() if path.is_dir()] == [name]


def test_a_job_belongs_to_the_key_that_asked(
    packaged: tuple[Workspace, PackageRecord], tmp_path: Path, call: tuple[Path, list[Turn]]
) -> None:
    keys = {name: {"X-API-Key": add(tmp_path / "keys.json", name)} for name in ("mine", "other")}
    with serve(*packaged, tmp_path, LSGMER_SERVICE_KEYS=str(tmp_path / "keys.json")) as served:
        with call[0].open("rb") as file:
            begun = httpx.post(f"{served.url}/analyze", files={"audio": file}, headers=keys["mine"], trust_env=False)
        address = f"{served.url}{begun.headers['location']}"
        for name, status_code in (("mine", 200), ("other", 404)):
            assert httpx.get(address, headers=keys[name], trust_env=False).status_code == status_code
        assert httpx.delete(address, headers=keys["other"], trust_env=False).status_code == 404
        assert httpx.get(address, trust_env=False).status_code == 401
        listed = [
            httpx.get(f"{served.url}/analyze", headers=keys[name], trust_env=False).json()["jobs"] for name in keys
        ]
        assert [len(jobs) for jobs in listed] == [1, 0]
        assert wait_for(
            lambda: httpx.get(address, headers=keys["mine"], trust_env=False).json()["status"] == "done", 60
        )
