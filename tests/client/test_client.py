"""The client on a real service: answers as records, errors with reasons, jobs, live turns; tries again in bounds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest

from lsgmer.audio import decode
from lsgmer.client import BatchItem, Client, ClientError, JobStatus
from lsgmer.client.transport import _retry_after
from lsgmer.core.errors import ParamsError
from lsgmer.inference.prediction import Prediction
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.service import keys
from tests.serving.test_service import WORDS, tone
from tests.support import server
from tests.support.analyses import make_analysis, write_call
from tests.support.calls import make_call, recordings
from tests.support.server import Served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def test_importing_it_needs_neither_a_model_nor_a_server() -> None:
    code = (
        "import sys, lsgmer.client; "
        "assert not {'torch', 'transformers', 'bentoml', 'numpy', 'pandas', 'prefect', 'serving'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_prediction_is_the_record_of_the_service(client: Client, served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(tone())
    offline = Predictor.load(served.source / "model", "offline", device="cpu")
    expected = offline.predict([Input(audio=decode(tone()), text='"what?"')])[0]
    for audio in (tmp_path / "a.flac", tone()):
        found = client.predict(audio, '"what?"')
        assert isinstance(found, Prediction)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert found.model_version == served.record.tag
    client.feedback(str(found.request_id), next(iter(found.probabilities)))
    with pytest.raises(ClientError, match="label") as caught:
        client.feedback(str(found.request_id), "bliss")
    assert (caught.value.status, caught.value.request_id is None) == (400, False)
    lines = [{"text": "how could you", "speaker": "ann"}, "really"]
    assert client.predict(text=WORDS, speaker="ann", previous=lines).context_used == 2
    with pytest.raises(ClientError, match="channel 3"):
        client.predict(tone(channels=2), channel=3)
    with pytest.raises(ClientError, match="neither audio nor text"):
        client.predict()


def test_a_batch_has_answers_and_errors_in_order(client: Client) -> None:
    good, bad, words = client.predict_batch([BatchItem(tone()), BatchItem(b"no audio"), BatchItem(text=WORDS)])
    assert isinstance(good, Prediction)
    assert isinstance(words, Prediction)
    assert isinstance(bad, ClientError)
    assert bad.status == 400
    assert bad.reason.startswith("audio:")
    assert words.probabilities == pytest.approx(client.predict(text=WORDS).probabilities, abs=1e-6)


def test_records_of_the_model_are_given(client: Client, served: Served) -> None:
    assert client.card()["lineage"]["weights_sha256"] == served.record.weights_sha256
    assert client.lineage()["model_version"] == served.record.tag
    assert client.forget_speaker("nobody / at all") is False


def test_a_call_is_analysed_with_progress_and_then_forgotten(client: Client, tmp_path: Path) -> None:
    given = make_analysis(12, 30.0)
    write_call(tmp_path / "call.wav", given)
    before = client._transport.json("GET", "/analyze")["jobs"]
    seen: list[JobStatus] = []
    found = client.analyze(
        tmp_path / "call.wav", [turn.turn for turn in given.timeline], negative=["sad"], progress=seen.append
    )
    words = [turn.text and turn.text.replace("\u2028", " ") for turn in given.timeline]
    assert [turn.text for turn in found.timeline] == words
    assert found.summary.negative_labels == ("sad",)
    assert seen[-1].status == "done"
    assert sorted(status.progress for status in seen) == [status.progress for status in seen]
    assert client._transport.json("GET", "/analyze")["jobs"] == before


def test_a_job_can_be_taken_up_again_cancelled_and_fails_with_its_reason(client: Client, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("no audio")
    job = client.start_analysis(tmp_path / "notes.wav")
    with pytest.raises(ClientError, match="audio:"):
        client.job(job.id).wait(timeout_s=30)
    job.cancel()
    with pytest.raises(ClientError) as caught:
        job.status()
    assert caught.value.status == 404
    given = make_analysis(200, 100.0)
    write_call(tmp_path / "call.wav", given)
    (tmp_path / "t.json").write_text(json.dumps([turn.turn.model_dump(mode="json") for turn in given.timeline]))
    job = client.start_analysis(tmp_path / "call.wav", tmp_path / "t.json")
    with pytest.raises(ClientError, match="has no result"):
        job.result()
    with pytest.raises(ClientError, match="it goes on"):
        job.wait(timeout_s=0)
    job.cancel()
    with pytest.raises(ClientError, match="cancelled: it has no result"):
        job.wait(timeout_s=30)
    job.cancel()


def test_live_turns_come_while_the_audio_is_sent(client: Client, tmp_path: Path) -> None:
    turns = make_call(tmp_path / "call.wav", recordings(4), 24.0)
    wave = np.stack([decode(tmp_path / "call.wav", channel=side).samples for side in (0, 1)], axis=1)
    pcm = (wave * 32767).astype("<i2").tobytes()
    sent: list[int] = []

    def blocks() -> Iterator[bytes]:
        for start in range(0, len(pcm), 96_000):
            sent.append(start)
            yield pcm[start : start + 96_000]

    with client.live(24_000, 2, speakers=["agent", "customer"], negative=["sad"]) as live:
        events = list(live.stream(blocks()))
    assert [events[0].type, events[-1].type] == ["ready", "summary"]
    found = [event.turn for event in events if event.turn]
    assert len(found) >= len(turns)
    assert {turn.speaker for turn in found} == {"agent", "customer"}
    assert events[-1].summary is not None
    assert events[-1].summary.negative_labels == ("sad",)
    assert events[-1].duration_s == pytest.approx(24.0, abs=0.1)
    with client.live(24_000) as live, pytest.raises(OSError, match="the microphone is gone"):
        list(live.stream(broken()))
    with client.live(123) as live, pytest.raises(ClientError, match="rate: 123"):
        list(live.events())


def broken() -> Iterator[bytes]:
    yield bytes(4800)
    raise OSError("the microphone is gone")


def test_keys_proxies_and_limits(packaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service with keys, a limit per minute, and a proxy in the environment that would swallow everything."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    key = keys.add(tmp_path / "keys.json", "tests")
    settings = {"LSGMER_SERVICE_KEYS": str(tmp_path / "keys.json"), "LSGMER_SERVICE_REQUESTS_PER_MINUTE": "4"}
    with keyed(packaged, tmp_path, settings) as served:
        monkeypatch.delenv("LSGMER_API_KEY", raising=False)
        with Client(served.url) as client, pytest.raises(ClientError, match="an API key is needed") as caught:
            client.card()
        assert caught.value.status == 401
        assert caught.value.request_id
        monkeypatch.setenv("LSGMER_API_KEY", "wrong")
        with Client(served.url, key=key) as client:
            assert client.predict(text=WORDS).emotion
        with Client(served.url) as client, pytest.raises(ClientError, match="not known"):
            client.predict(text=WORDS)
        monkeypatch.setenv("LSGMER_API_KEY", key)
        with Client(served.url, retry_s=2.5) as client:
            with client.live(16_000) as live:
                assert next(live.events()).type == "ready"
            while (answer := httpx.get(f"{served.url}/card", headers={"X-API-Key": key}, trust_env=False)).is_success:
                pass
            assert answer.status_code == 429
            started = time.monotonic()
            with pytest.raises(ClientError, match="requests_per_minute") as caught:
                client.card()
            assert caught.value.status == 429
            assert 1.0 <= time.monotonic() - started <= 6.0, "tried again, and then given up"


@contextmanager
def keyed(packaged, folder: Path, settings: dict[str, str]) -> Iterator[Served]:
    """A server of this test's own; what starts it must not see the proxy."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        manager = server.serve(*packaged, folder, **settings)
        served = manager.__enter__()
    try:
        yield served
    finally:
        manager.__exit__(None, None, None)


class Front(BaseHTTPRequestHandler):
    """What may stand before a service: busy twice, then an answer; redirects; pages that are no JSON; silence."""

    asked: list[tuple[str, str | None, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.path, self.headers.get("Authorization"), body))
        if self.path == "/busy/feedback" and len(self.asked) < 3:
            self.answer(503, b"", ("Retry-After", "1"))
        elif self.path == "/far/feedback":
            self.answer(503, b"", ("Retry-After", "3600"))
        elif self.path == "/moved/feedback":
            self.answer(307, b"", ("Location", f"http://localhost:{self.server.server_port}/taken"))
        elif self.path == "/page/feedback":
            self.answer(502, b"<html>Bad gateway</html>")
        elif self.path == "/odd/feedback":
            self.answer(200, b"<html>hello</html>")
        elif self.path == "/slow/feedback":
            time.sleep(2)
        else:
            self.answer(201, b"{}")

    def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def front() -> Iterator[tuple[str, list[tuple[str, str | None, bytes]]]]:
    asked: list[tuple[str, str | None, bytes]] = []
    handler = type("Handler", (Front,), {"asked": asked})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", asked
    listening.shutdown()
    listening.server_close()


def test_a_busy_service_is_asked_again_with_the_whole_request(front) -> None:
    url, asked = front
    with Client(f"{url}/busy/", key="k") as client:
        started = time.monotonic()
        client.feedback("id", "sad")
        assert time.monotonic() - started >= 2.0, "as long as Retry-After says"
    assert [(path, key, json.loads(body)) for path, key, body in asked] == [
        ("/busy/feedback", "Bearer k", {"request_id": "id", "label": "sad"})
    ] * 3


def test_who_asks_to_come_back_in_an_hour_is_not_waited_for(front) -> None:
    url, asked = front
    started = time.monotonic()
    with Client(f"{url}/far") as client, pytest.raises(ClientError, match="answered 503") as caught:
        client.feedback("id", "sad")
    assert caught.value.status == 503
    assert time.monotonic() - started < 2
    assert len(asked) == 1


def test_the_key_does_not_follow_a_redirect(front) -> None:
    url, asked = front
    with Client(f"{url}/moved", key="k") as client, pytest.raises(ClientError, match="redirects to http://localhost"):
        client.feedback("id", "sad")
    assert [path for path, _, _ in asked] == ["/moved/feedback"]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [("page", 502, "answered 502"), ("odd", 200, "not JSON"), ("slow", None, "no answer in time")],
)
def test_what_is_no_answer_is_an_error_that_says_so(front, path: str, status: int | None, reason: str) -> None:
    with Client(f"{front[0]}/{path}", timeout=0.5) as client, pytest.raises(ClientError, match=reason) as caught:
        client.feedback("id", "sad")
    assert caught.value.status == status


def test_an_address_where_nothing_answers_fails_at_once() -> None:
    started = time.monotonic()
    with Client("http://127.0.0.1:9") as client, pytest.raises(ClientError, match="nothing answers there"):
        client.card()
    with Client("http://127.0.0.1:9") as client, pytest.raises(ClientError, match="no connection"):
        client.live(16_000)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "url", ["localhost:3000", "ftp://a", "http://", "http://u:p@host", "http://a:b", "http://a/?q=1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ParamsError):
        Client(url)


@pytest.mark.parametrize("key", ["", "two words", "naïve", "line\n"])
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(ParamsError, match="API key"):
        Client("http://127.0.0.1:3000", key=key)


def test_retry_after_may_be_a_date() -> None:
    from email.utils import formatdate

    assert 50 < _retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert (_retry_after("7"), _retry_after("soon"), _retry_after("")) == (7.0, 0.0, 0.0)
