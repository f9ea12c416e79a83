"""ASGI middleware around everything: who may ask, how much, how often; every answer has an id, and JSON if it fails."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import is_own_address
from lsgmer.service.keys import Keys
from lsgmer.service.settings import ServiceSettings, read_settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
PROBES = ("/livez", "/readyz", "/healthz")  # an orchestrator's: no key, no limit
PUBLIC = ("/", "/web/")  # the page itself, which holds nothing about anybody
STREAMED = "/analyze"  # POST: a call, which goes to the disk as it arrives
BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")
MOST_CALLERS = 10_000  # whose requests in the last minute are counted
RETRY_S = 1
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src blob:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
REMEDIES = {
    404: "there is no such address; /openapi.json lists those there are",
    405: "this address does not take this method; /openapi.json says which it takes",
}
log = logging.getLogger("lsgmer.serving")


class Refusal(Exception):
    """A request that is not answered: the HTTP status, and a reason that names the field or limit and the remedy."""

    def __init__(self, status: int, reason: str, retry: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry = status, reason, retry


@dataclass(slots=True)
class Asked:
    """What the guard knows of a request, in its scope's state: `key` is the name of the API key, `started` when."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    key: str | None = None


def refusal_response(refusal: Refusal, request_id: str, allow: str | None = None) -> JSONResponse:
    """Return the answer to a request that is refused; `allow` names the methods of an address that takes others."""
    headers = {"Retry-After": str(RETRY_S)} if refusal.retry else {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    if allow is not None:
        headers["Allow"] = allow
    content = {"error": refusal.reason, "request_id": request_id}
    return JSONResponse(content, status_code=refusal.status, headers=headers)


class Guard:
    """Admits a request, or answers it. Bodies are read before the application sees them, so none can be too large."""

    def __init__(self, app: App, settings: ServiceSettings | None = None) -> None:
        self.app = app
        self.settings = settings or read_settings()
        self.keys = Keys.read(self.settings.keys) if self.settings.keys else None
        self.requests = self.bytes = self.sessions = 0
        self._recent: OrderedDict[str, deque[float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, of whatever kind."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["type"] == "websocket":
            await self._socket(scope, headers, receive, send)
            return
        given = headers.get("x-request-id", "")
        asked = Asked(given if ID.fullmatch(given) else str(uuid.uuid4()))
        scope.setdefault("state", {})["asked"] = asked
        answer = _Answer(send, asked.request_id)
        try:
            await self._answer(scope, headers, receive, answer)
        except Refusal as refusal:
            await answer.refuse(refusal)
        except TimeoutError:
            await answer.refuse(
                Refusal(504, f"no answer within {self.settings.answer_s:g} s (answer_s); send less, or try again", True)
            )
        except Exception:
            if answer.started:
                raise
            log.exception("request %s failed", asked.request_id)
            await answer.refuse(Refusal(500, "an error of the service, not of the request; its log has the details"))

    async def _socket(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        """Admit a WebSocket, or refuse it before it opens; a browser may give its key in the first message."""
        asked = Asked(str(uuid.uuid4()))
        state = scope.setdefault("state", {})
        state["asked"] = asked
        try:
            if headers.keys() & {"authorization", "x-api-key"} or self.keys is None:
                asked.key = self._demand_key(scope, headers)
            else:
                state["admit"] = self._admit
            self._demand_same_origin(scope, headers)
            self._count(asked.key or _address(scope))
            if self.sessions >= self.settings.max_live:
                raise Refusal(503, f"{self.sessions} live sessions are open (max_live); try again later", retry=True)
        except Refusal as refusal:
            socket = WebSocket(scope, receive, send)
            await socket.send_denial_response(refusal_response(refusal, asked.request_id))
            return
        self.sessions += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.sessions -= 1

    def _admit(self, presented: str) -> str:
        """Return the name of a key. Raises Refusal for a wrong one."""
        return str(self._demand_key({"method": "", "path": ""}, {"x-api-key": presented}))

    async def _answer(self, scope: Scope, headers: Mapping[str, str], receive: Receive, answer: _Answer) -> None:
        path, asked = scope["path"], scope["state"]["asked"]
        if path in PROBES:
            await self.app(scope, receive, answer.send)
            return
        asked.key = self._demand_key(scope, headers)
        self._demand_same_origin(scope, headers)
        if "pickle" in headers.get("content-type", ""):  # BentoML has such a type
            raise Refusal(415, "pickles are not read; send a form or JSON")
        self._count(asked.key or _address(scope))
        if self.requests >= self.settings.max_requests:
            raise Refusal(503, f"{self.requests} requests are in progress (max_requests); try again", retry=True)
        self.requests += 1
        held = 0
        try:
            if scope["method"] == "POST" and path == STREAMED:
                await self._stream(scope, headers, receive, answer)
                return
            body = b""
            if scope["method"] in BODY_METHODS:
                body = await self._body(headers, receive)
                held = len(body)
            async with asyncio.timeout(self.settings.answer_s):
                await self.app(scope, _replay(body, receive), answer.send)
        finally:
            self.requests -= 1
            self.bytes -= held

    def _demand_key(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Return the name of the request's key. Raises Refusal for a wrong one, and for none where one is needed."""
        path = scope["path"]
        if scope.get("method") in ("GET", "HEAD") and (path == PUBLIC[0] or path.startswith(PUBLIC[1])):
            return None
        if self.keys is None:
            if not _is_local(scope, headers):
                raise Refusal(403, "this service has no API keys and answers only its own machine; see `lsgmer keys`")
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        presented = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        try:
            name = self.keys.who(presented)
        except LsgmerError:
            log.exception("the file of API keys cannot be read")
            raise Refusal(503, "API keys cannot be checked at the moment; the service's log says why", True) from None
        if name is None:
            why = "an API key is needed" if not presented else "this API key is not known, or was revoked"
            raise Refusal(401, f"{why}; send it as Authorization: Bearer KEY")
        return name

    def _demand_same_origin(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuse what another site's page sends through a visitor's browser."""
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise Refusal(403, "requests from other sites' pages are not answered; ask from your own server")

    def _count(self, caller: str) -> None:
        """Refuse a caller who has asked too often within a minute."""
        most = self.settings.requests_per_minute
        if not most:
            return
        now, times = time.monotonic(), self._recent.setdefault(caller, deque())
        self._recent.move_to_end(caller)
        while len(self._recent) > MOST_CALLERS:
            self._recent.popitem(last=False)
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= most:
            raise Refusal(429, f"more than {most} requests in a minute (requests_per_minute); try again", retry=True)
        times.append(now)

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """Return the body, whose bytes are counted in `self.bytes`. Raises Refusal where it is too large or late."""
        self._demand_size(_declared(headers))
        chunks: list[bytes] = []
        size, whole = 0, False
        try:
            async with asyncio.timeout(self.settings.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "the connection ended before the whole body had arrived")
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    self.bytes += len(chunk)
                    self._demand_size(size)
                    if self.bytes > self.settings.max_body_bytes:
                        raise Refusal(503, "the bodies in progress are too large together (max_body_mib)", retry=True)
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        whole = True
                        return b"".join(chunks)
        except TimeoutError:
            raise Refusal(408, f"the body did not arrive within {self.settings.body_s:g} s (body_s)") from None
        finally:
            if not whole:
                self.bytes -= size

    async def _stream(self, scope: Scope, headers: Mapping[str, str], receive: Receive, answer: _Answer) -> None:
        """Let the application read a body that may be larger than memory, and bound it on the way."""
        most, seconds, size = self.settings.max_call_bytes, self.settings.call_upload_s, 0
        if _declared(headers) > most:
            raise Refusal(413, f"the upload is over {self.settings.max_call_mib:g} MiB (max_call_mib)")

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise Refusal(413, f"the upload is over {self.settings.max_call_mib:g} MiB (max_call_mib)")
            return message

        try:
            async with asyncio.timeout(seconds):
                await self.app(scope, counted, answer.send)
        except TimeoutError:
            raise Refusal(408, f"the upload did not arrive within {seconds:g} s (call_upload_s)") from None

    def _demand_size(self, size: int) -> None:
        if size > self.settings.max_upload_bytes:
            most = self.settings.max_upload_mib
            raise Refusal(413, f"the upload has {size / 2**20:.1f} MiB, at most {most:g} are allowed (max_upload_mib)")


class _Answer:
    """Sends an answer with the guard's headers; what failed elsewhere without JSON is sent as JSON."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.started = self._replaced = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
            status = message["status"]
            if status >= 400 and "json" not in headers.get("content-type", ""):
                self._replaced = True
                await self.refuse(Refusal(status, REMEDIES.get(status, "the request cannot be answered")), headers)
                return
            await self._start(message, headers)
        elif not self._replaced:
            await self._send(message)

    async def _start(self, message: Message, headers: Mapping[str, str]) -> None:
        self.started = True
        mine = {name: value for name, value in HEADERS.items() if name.lower() not in headers}
        extra = [(name.lower().encode(), value.encode()) for name, value in mine.items()]
        kept = [pair for pair in message["headers"] if pair[0].lower() not in (b"x-request-id", b"server")]
        await self._send({**message, "headers": [*kept, *extra, (b"x-request-id", self._request_id.encode())]})

    async def refuse(self, refusal: Refusal, headers: Mapping[str, str] | None = None) -> None:
        if self.started:
            return
        response = refusal_response(refusal, self._request_id, (headers or {}).get("allow"))
        await self._start(
            {"type": "http.response.start", "status": refusal.status, "headers": response.raw_headers}, {}
        )
        await self._send({"type": "http.response.body", "body": response.body})


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read, and then whatever comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _declared(headers: Mapping[str, str]) -> int:
    """Return the length of the body that the headers declare, 0 for none."""
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("?",))[0])


def _is_local(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Return whether the request comes from this machine itself, and not through a proxy on it."""
    return not {"x-forwarded-for", "forwarded"} & headers.keys() and is_own_address(_address(scope))
