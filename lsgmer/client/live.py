"""A conversation while it goes on: audio to the service over a WebSocket, and turns back as soon as they end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from lsgmer.client.transport import ClientError, Transport, parsed
from lsgmer.conversations.records import SpeakerSummary, Summary, TimelineTurn
from lsgmer.core.records import Record, Seconds

MOST_BYTES = 16 * 2**20  # of one event
MOST_SENT = 2**18  # bytes of samples in one message


class LiveEvent(Record):
    """What the service says: `type` is ready (with the session's id), turn (one that ended), summary, or error."""

    type: str
    session_id: str | None = None
    turn: TimelineTurn | None = None
    summary: Summary | None = None
    speakers: tuple[SpeakerSummary, ...] = ()
    duration_s: Seconds | None = None
    error: str | None = None
    request_id: str | None = None


class Live:
    """One conversation. Send audio, call `end`, and read `events` until they end; or let `stream` do all of it."""

    def __init__(
        self,
        transport: Transport,
        rate: int,
        channels: int,
        transcribe: bool,
        speakers: Sequence[str],
        negative: Sequence[str] | None,
    ) -> None:
        """Connect. Raises ClientError where the service refuses, or does not answer."""
        query = urlencode({"rate": rate, "channels": channels, "transcribe": str(transcribe).lower()})
        self._url = f"ws{transport.url.removeprefix('http')}/live?{query}"
        self._ended = threading.Event()
        headers = {"Authorization": f"Bearer {transport.key}"} if transport.key else {}
        proxy: Literal[True] | None = None if transport.own_machine else True  # True: as the environment has it
        try:
            self._socket = connect(self._url, additional_headers=headers, proxy=proxy, max_size=MOST_BYTES)
        except InvalidStatus as error:
            raise _refusal(self._url, error) from None
        except (InvalidHandshake, OSError, TimeoutError) as error:
            raise ClientError(f"{self._url}: no connection: {error}; is the service running?") from None
        self._frame = 2 * channels
        named = {"speakers": list(speakers)} if speakers else {}
        first = named if negative is None else {**named, "negative": list(negative)}
        if first:
            self._say(json.dumps(first))

    def __enter__(self) -> Live:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def send(self, pcm: bytes) -> None:
        """Send samples: signed 16-bit little-endian, of all channels in turn. Raises ClientError."""
        size = MOST_SENT // self._frame * self._frame
        for start in range(0, len(pcm), size):
            self._say(pcm[start : start + size])

    def end(self) -> None:
        """Say that no more audio comes: the last turns and the summary follow. Raises ClientError."""
        self._say(json.dumps({"end": True}))

    def events(self) -> Iterator[LiveEvent]:
        """Yield what the service says until it has said all. Raises ClientError for an error that it reports."""
        try:
            for message in self._socket:
                event = parsed(LiveEvent, _content(message, self._url), self._url)
                if event.type == "error":
                    reason = event.error or "an error of the service without a reason"
                    raise ClientError(reason, request_id=event.request_id)
                yield event
        except ConnectionClosed as closed:
            raise ClientError(f"{self._url}: the connection broke: {closed}") from None

    def stream(self, blocks: Iterable[bytes]) -> Iterator[LiveEvent]:
        """Send `blocks` of audio, and meanwhile yield what the service says of it. Raises ClientError.

        `blocks` may come as slowly as somebody speaks. They are read in another thread, which ends with the connection.
        """
        problems: list[BaseException] = []

        def send() -> None:
            try:
                for block in blocks:
                    self.send(block)
                self.end()
            except ClientError:
                pass  # `events` says why the connection ended
            except BaseException as problem:  # of the blocks: it belongs to whoever reads the events
                problems.append(problem)
                with suppress(ClientError):
                    self.end()

        thread = threading.Thread(target=send, name="lsgmer-live", daemon=True)
        thread.start()
        yield from self.events()
        thread.join(timeout=5)
        if problems:
            raise problems[0]

    def _say(self, message: str | bytes) -> None:
        try:
            self._socket.send(message)
        except ConnectionClosed as closed:
            raise ClientError(f"{self._url}: the connection is closed: {closed}") from None


def _content(message: str | bytes, url: str) -> Any:
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        raise ClientError(f"{url}: the service said something that is not JSON") from None


def _refusal(url: str, error: InvalidStatus) -> ClientError:
    response = error.response
    reason = f"{url}: answered {response.status_code}"
    with suppress(ValueError, RecursionError, AttributeError):
        reason = json.loads(response.body or b"").get("error") or reason
    return ClientError(reason, response.status_code, response.headers.get("X-Request-ID"))
