"""WebSocket /live: the turns of a call, soon after each is over, with the answers that its recording gets."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from lsgmer.core.paths import Workspace
from lsgmer.registry.model_card import PackageRecord
from lsgmer.service.keys import add
from tests.serving.test_calls import start, wait
from tests.support.calls import RATE, make_call, recordings
from tests.support.server import Served, serve

PIECE_S = 0.1


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call of half a minute."""
    path = tmp_path_factory.mktemp("live") / "call.flac"
    make_call(path, recordings(8), 30.0)
    return path


def address(served: Served, **parameters: object) -> str:
    given = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"{served.url.replace('http', 'ws')}/live?{given}"


def opened(served: Served, rate: int = RATE, channels: int = 2, **more: Any) -> ClientConnection:
    return connect(address(served, rate=rate, channels=channels), proxy=None, **more)


def stream(socket: ClientConnection, path: Path, speed: float) -> tuple[list[dict[str, Any]], list[float]]:
    """Send a recording at `speed` times its pace; return what came back, and when, in seconds of the recording."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    size, events, times = round(PIECE_S * rate), list[dict[str, Any]](), list[float]()
    began = time.monotonic()

    def listen() -> None:
        try:
            for message in socket:
                events.append(json.loads(message))
                times.append((time.monotonic() - began) * speed)
        except ConnectionClosed:
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    for at in range(0, len(samples), size):
        due = began + (at + size) / rate / speed
        time.sleep(max(0.0, due - time.monotonic()))
        socket.send(samples[at : at + size].tobytes())
    socket.send('{"end": true}')
    listener.join(30)
    return events, times


def test_each_turn_is_answered_soon_and_as_in_the_recording(served: Served, call: Path) -> None:
    found = [list[dict[str, Any]](), list[dict[str, Any]]()]
    delays: list[float] = []

    def session(number: int) -> None:
        with opened(served) as socket:
            events, times = stream(socket, call, speed=2.0)
        found[number] = events
        for event, at in zip(events, times, strict=True):
            if event["type"] == "turn":
                delays.append((at - event["turn"]["end_s"]) / 2.0)

    sessions = [threading.Thread(target=session, args=(number,)) for number in range(2)]
    for one in sessions:
        one.start()
    for one in sessions:
        one.join(60)
    recorded = wait(served, start(served, call).json()["job_id"])["result"]
    for events in found:
        assert [event["type"] for event in events] == ["ready", *["turn"] * len(recorded["timeline"]), "summary"]
        turns = sorted((event["turn"] for event in events if event["type"] == "turn"), key=lambda turn: turn["start_s"])
        for live, known in zip(turns, recorded["timeline"], strict=True):
            assert (live["start_s"], live["end_s"], live["speaker"]) == (
                known["start_s"],
                known["end_s"],
                known["speaker"],
            )
        assert events[-1]["duration_s"] == pytest.approx(30.0)
    assert found[0][1:-1] == found[1][1:-1], "both sessions hear the same"
    assert max(delays) < 5.0, "far from real time even on a busy machine"


def closing(socket: ClientConnection) -> dict[str, Any]:
    """Return the last thing that is said before the session is closed."""
    said: dict[str, Any] = {}
    try:
        for message in socket:
            said = json.loads(message)
    except ConnectionClosed:
        pass
    return said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"123", "whole frames"),
        ("nonsense", "not understood"),
        ('{"speakers": "a"}', "list of texts"),
        ('{"negative": ["furious"]}', "furious"),
        ('{"stop": true}', "not understood"),
        ("[" * 100_000, "not understood"),
    ],
)
def test_what_cannot_be_meant_ends_the_session_with_a_reason(message: bytes | str, said: str, served: Served) -> None:
    with opened(served) as socket:
        socket.send(message)
        last = closing(socket)
    assert last["type"] == "error"
    assert said in last["error"]


@pytest.mark.parametrize(("rate", "channels"), [(7000, 1), (16_000, 0), (16_000, 99), ("x", 1)])
def test_other_rates_and_channels_are_refused(rate: Any, channels: int, served: Served) -> None:
    with opened(served, rate, channels) as socket:
        assert closing(socket)["type"] == "error"


def test_an_empty_session_has_an_empty_summary(served: Served) -> None:
    with opened(served) as socket:
        socket.send('{"end": true}')
        last = closing(socket)
    assert last["type"] == "summary"
    assert last["summary"]["shares"] is None


def test_another_sites_page_may_not_listen(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(served, origin="https://elsewhere.example").close()
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"")["error"]


def test_keys_sessions_and_silence_are_bounded(packaged: tuple[Workspace, PackageRecord], tmp_path: Path) -> None:
    key = add(tmp_path / "keys.json", "page")
    limits = {"LSGMER_SERVICE_MAX_LIVE": "1", "LSGMER_SERVICE_LIVE_IDLE_S": "2"}
    with serve(*packaged, tmp_path, LSGMER_SERVICE_KEYS=str(tmp_path / "keys.json"), **limits) as served:
        with pytest.raises(InvalidStatus) as refused:
            opened(served, additional_headers={"Authorization": "Bearer wrong"}).close()
        assert refused.value.response.status_code == 401
        with opened(served) as socket:
            socket.send('{"api_key": "wrong"}')
            assert "not known" in closing(socket)["error"]
        with opened(served) as socket:
            socket.send(b"\0" * 4)
            assert "API key is needed" in closing(socket)["error"]
        with opened(served) as socket:
            socket.send(json.dumps({"api_key": key}))
            assert json.loads(socket.recv())["type"] == "ready"
            with pytest.raises(InvalidStatus) as busy:
                opened(served).close()
            assert busy.value.response.status_code == 503
            assert "nothing came" in closing(socket)["error"]
        headers = {"Authorization": f"Bearer {key}"}
        with opened(served, additional_headers=headers) as socket:
            assert json.loads(socket.recv())["type"] == "ready"
        assert httpx.get(f"{served.url}/analyze", headers=headers, trust_env=False).json()["jobs"] == []
    assert key not in served.log.parent.joinpath("server.log").read_text()
