"""WebSocket /live: samples come in, and an answer goes out for each turn soon after it is over."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from lsgmer.conversations.summary import negative_labels
from serving.batches import Closed
from serving.call_form import NO, YES
from serving.form import SPEAKER, settings
from serving.guard import Asked, Refusal

if TYPE_CHECKING:
    from lsgmer.conversations.live import LiveConversation
    from lsgmer.conversations.records import TimelineTurn
    from serving.jobs import JobRunner

ROUTE = "/live"
RATES = (8000, 16_000, 24_000, 44_100, 48_000)
MOST_MESSAGE = 1 << 20  # bytes of samples in one message
PARAMETERS = ("rate", "channels", "transcribe")
HOW = 'first a JSON object with any of api_key, speakers, negative; then 16-bit samples; then {"end": true}'
DONE, POLICY, TOO_BIG, FAILED, RESTART, LATER = 1000, 1008, 1009, 1011, 1012, 1013
CODES = {400: POLICY, 401: POLICY, 408: POLICY, 409: POLICY, 413: TOO_BIG, 503: LATER}
log = logging.getLogger("lsgmer.serving")


@dataclass(frozen=True, slots=True)
class Form:
    """How the samples come: Hz, channels (interleaved), and whether words are to be written."""

    rate: int
    channels: int
    transcribe: bool


async def live(socket: WebSocket) -> None:
    """Serve one session: {"type": "ready"}, then {"type": "turn", ...} for each turn, at last {"type": "summary"}.

    Where keys are needed and the headers have none, "ready" comes after the first message, which has it.
    """
    await socket.accept()
    asked: Asked = socket.state.asked
    try:
        await _session(socket, asked)
    except WebSocketDisconnect:
        return
    except Refusal as refusal:
        await _fail(socket, refusal.reason, asked, CODES.get(refusal.status, POLICY))
    except Closed:
        await _fail(socket, "the service is stopping; ask again, it may be back", asked, RESTART)
    except Exception:
        log.exception("live session %s failed", asked.request_id)
        await _fail(socket, "an error of the service; its log has the details", asked, FAILED)


async def _session(socket: WebSocket, asked: Asked) -> None:
    runner: JobRunner = socket.app.state.jobs
    form = _form(socket, runner.answers.transcriber is not None)
    ready = {"type": "ready", "session_id": asked.request_id, "rate": form.rate, "channels": form.channels}
    ready |= {"model_version": runner.answers.predictor.version, "labels": list(runner.answers.labels)}
    admit = getattr(socket.state, "admit", None)
    if admit is None:
        await socket.send_json(ready)
    message = await _receive(socket)
    options = _options(message) if isinstance(message, str) else {}
    if admit is not None:
        asked.key = admit(str(options.get("api_key", "")))
        await socket.send_json(ready)
    conversation = await asyncio.to_thread(_conversation, runner, form, options, asked)
    if isinstance(message, str) and "end" not in options:
        message = await _receive(socket)
    while isinstance(message, bytes):
        await _send(socket, await asyncio.to_thread(conversation.hear, _samples(message, form)))
        if conversation.listener.heard_s > settings().max_live_s:
            raise Refusal(
                413, f"a session has at most {settings().max_live_s:g} s of audio (max_live_s); begin another"
            )
        message = await _receive(socket)
    if "end" not in _options(message):
        raise Refusal(400, f'a text among the samples that is not {{"end": true}}; {HOW}')
    await _send(socket, await asyncio.to_thread(conversation.finish))
    await socket.send_json(
        {
            "type": "summary",
            "duration_s": conversation.listener.heard_s,
            "speakers": [one.model_dump(mode="json") for one in conversation.speakers],
            "summary": conversation.summary.model_dump(mode="json"),
        }
    )
    await socket.close(DONE)


def _conversation(runner: JobRunner, form: Form, options: dict[str, Any], asked: Asked) -> LiveConversation:
    from lsgmer.conversations.live import Listener, LiveConversation
    from lsgmer.conversations.turns import Names
    from serving.turns import Turns

    answers = runner.answers
    names, negative = options.get("speakers", []), options.get("negative")
    try:
        bad = negative_labels(answers.labels, negative)
    except Exception as error:
        raise Refusal(400, str(error)) from error
    listener = Listener(runner.voices, form.rate, Names(form.channels, names))
    turns = Turns(answers, asked.request_id, ROUTE, asked.key, background=False)
    return LiveConversation(turns, listener, answers.transcriber if form.transcribe else None, bad)


async def _receive(socket: WebSocket) -> bytes | str:
    """Return the next message. Raises WebSocketDisconnect, and Refusal when none comes."""
    try:
        async with asyncio.timeout(settings().live_idle_s):
            message = await socket.receive()
    except TimeoutError:
        raise Refusal(408, f"nothing came for {settings().live_idle_s:g} s (live_idle_s)") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", DONE))
    content = message.get("bytes")
    return content if content is not None else str(message.get("text") or "")


async def _send(socket: WebSocket, entries: list[TimelineTurn]) -> None:
    for entry in entries:
        await socket.send_json({"type": "turn", "turn": entry.model_dump(mode="json")})


async def _fail(socket: WebSocket, reason: str, asked: Asked, code: int) -> None:
    try:
        await socket.send_json({"type": "error", "error": reason, "request_id": asked.request_id})
        await socket.close(code)
    except (RuntimeError, WebSocketDisconnect):  # it is gone already
        return


def _form(socket: WebSocket, can_transcribe: bool) -> Form:
    given = socket.query_params
    if unknown := sorted(set(given) - set(PARAMETERS)):
        raise Refusal(400, f"unknown parameter(s) {', '.join(unknown)[:200]}; known are {', '.join(PARAMETERS)}")
    rate = _number("rate", given.get("rate", "16000"))
    if rate not in RATES:
        raise Refusal(400, f"rate: {rate}: one of {', '.join(map(str, RATES))} Hz")
    channels = _number("channels", given.get("channels", "1"))
    if not 1 <= channels <= settings().max_channels:
        raise Refusal(400, f"channels: {channels}: 1 to {settings().max_channels} (max_channels)")
    said = given.get("transcribe", "").strip().lower()
    if said not in (*YES, *NO):
        raise Refusal(400, "transcribe: true or false")
    if said in YES and not can_transcribe:
        raise Refusal(409, "transcribe: this service writes no words; start it with --set transcribe=moonshine")
    return Form(rate, channels, said in YES)


def _number(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 8):
        raise Refusal(400, f"{name}: not a whole number")
    return int(given)


def _options(text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or set(found) - {"api_key", "speakers", "negative", "end"}:
        raise Refusal(400, f"not understood; send {HOW}")
    for name in ("speakers", "negative"):
        values = found.get(name, [])
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise Refusal(400, f"{name}: not a list of texts")
    names = found.get("speakers", [])
    if len(set(names)) < len(names) or not all(SPEAKER.fullmatch(name) and name == name.strip() for name in names):
        raise Refusal(400, "speakers: different names of at most 128 letters, digits, spaces and . _ @ : + -")
    return found


def _samples(message: bytes, form: Form) -> bytes:
    if len(message) > MOST_MESSAGE:
        raise Refusal(
            413, f"{len(message)} bytes in a message, at most {MOST_MESSAGE} are allowed; send smaller pieces"
        )
    if len(message) % (2 * form.channels):
        raise Refusal(400, f"{len(message)} bytes are not whole frames of {form.channels} 16-bit samples")
    return message
