"""Who may ask, how much and how often: each bound has its status, every failure is JSON, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from lsgmer.service import keys
from lsgmer.service.settings import ServiceSettings
from serving.guard import Guard


class Answered:
    """What a client would see."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: Any) -> None:
        self.messages.append(dict(message))

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body of the request."""
    body = (await receive())["body"] if scope["method"] == "POST" else b"page"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


def ask(*arguments: Any, **given: Any) -> Answered:
    """Ask as `asking` does, and wait for the answer."""
    return asyncio.run(asking(*arguments, **given))


async def asking(
    guard: Guard,
    path: str = "/predict",
    method: str = "POST",
    chunks: tuple[bytes, ...] = (b"hello",),
    client: str = "127.0.0.1",
    wait_s: float = 0.0,
    **headers: str,
) -> Answered:
    given = {"host": "model.example:3000", **{name.replace("_", "-").lower(): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "client": (client, 5000),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(wait_s)
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    answer = Answered()
    await guard(scope, receive, answer.send)
    return answer


def guard(app: Any = echo, **settings: Any) -> Guard:
    return Guard(app, ServiceSettings.model_validate(settings))


def test_an_answer_has_an_id_and_the_headers_of_a_careful_server():
    answer = ask(guard(), X_Request_ID="ab-12", chunks=(b"he", b"llo"))
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, b"hello", "ab-12")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert len(ask(guard(), X_Request_ID="no spaces, please").headers["x-request-id"]) == 36


@pytest.mark.parametrize(
    ("settings", "request_", "status", "reason"),
    [
        ({"max_upload_mib": 1e-5}, {"chunks": (b"x" * 6, b"x" * 6)}, 413, "max_upload_mib"),
        ({"max_upload_mib": 1e-5}, {"Content_Length": "1000000000"}, 413, "953.7 MiB"),
        ({"max_body_mib": 1e-6}, {}, 503, "max_body_mib"),
        ({"body_s": 0.05}, {"wait_s": 0.2}, 408, "body_s"),
        ({}, {"chunks": ()}, 400, "connection ended"),
        ({}, {"Origin": "https://elsewhere.example"}, 403, "other sites"),
        ({}, {"Origin": "null"}, 403, "other sites"),
        ({}, {"client": "10.0.0.7"}, 403, "lsgmer keys"),
        ({}, {"X_Forwarded_For": "10.0.0.7"}, 403, "lsgmer keys"),
    ],
)
def test_each_bound_has_its_status(settings, request_, status, reason):
    watched = guard(**settings)
    answer = ask(watched, **request_)
    assert (answer.status, reason in answer.error) == (status, True), answer.error
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (status == 503)
    assert (watched.requests, watched.bytes) == (0, 0)


def test_its_own_origin_may_ask():
    assert ask(guard(), Origin="http://model.example:3000").status == 200


def test_requests_in_progress_are_bounded_and_an_answer_has_a_time():
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)

    async def both(watched: Guard) -> list[Answered]:
        return await asyncio.gather(asking(watched), asking(watched))

    first, second = asyncio.run(both(guard(slow, max_requests=1)))
    assert (first.status, second.status, second.headers["retry-after"]) == (200, 503, "1")
    late = ask(guard(slow, answer_s=0.05))
    assert (late.status, "answer_s" in late.error) == (504, True)
    assert ask(guard(slow, answer_s=0.05), "/livez", "GET").status == 200, "a probe is not bounded"


def test_a_caller_may_ask_so_often():
    watched = guard(requests_per_minute=2)
    assert [ask(watched).status for _ in range(3)] == [200, 200, 429]
    watched._recent["127.0.0.1"].clear()  # a minute later
    assert ask(watched).status == 200


def test_what_fails_without_json_is_json_and_says_nothing_about_the_code(caplog):
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret detail")

    async def missing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b"GET")]})
        await send({"type": "http.response.body", "body": b"Method Not Allowed"})

    answer = ask(guard(breaks))
    assert (answer.status, b"secret" in answer.body) == (500, False)
    assert "secret detail" in caplog.text
    other = ask(guard(missing))
    assert (other.status, other.headers["allow"]) == (405, "GET")
    assert "/openapi.json" in other.error


@pytest.fixture
def keyed(tmp_path: Path) -> tuple[Guard, str, Path]:
    path = tmp_path / "keys.json"
    return guard(keys=path), keys.add(path, "desk"), path


def test_only_a_known_key_is_answered_from_anywhere(keyed):
    watched, key, path = keyed
    for client in ("127.0.0.1", "10.0.0.7"):
        assert ask(watched, client=client, Authorization=f"Bearer {key}").status == 200
        assert ask(watched, client=client, X_API_Key=key).status == 200
        for wrong in ({}, {"Authorization": f"Bearer {key[:-1]}"}, {"Authorization": f"Basic {key}"}):
            answer = ask(watched, client=client, **wrong)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert key[:12] not in answer.error
    assert ask(watched, "/", "GET", client="10.0.0.7").status == 200, "the page itself holds nothing"
    assert ask(watched, "/card", "GET", client="10.0.0.7").status == 401
    keys.revoke(path, "desk")
    assert ask(watched, Authorization=f"Bearer {key}").status == 401
    path.write_text("no keys at all")
    assert ask(watched, Authorization=f"Bearer {key}").status == 503
