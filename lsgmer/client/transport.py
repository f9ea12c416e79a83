"""Requests to the service: the address, the key, tries again where the service asks for it, and one kind of error."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.process import is_own_address
from lsgmer.core.records import Record, Seconds, first_problem

BUSY = (429, 503)  # answers that a later try may turn into a good one
FIRST_WAIT_S = 0.5  # before the second try where the service names no time; doubled for each later one
LONGEST_WAIT_S = 10.0
CONNECT_S = 10.0
PLAIN = re.compile(r"[!-~]+")  # what may be in a header without a space
SHOWN = 200  # characters of an answer that is no JSON
R = TypeVar("R", bound=Record)


class ClientError(LsgmerError):
    """A request without a good answer.

    `status` is the HTTP status, None where no answer came; `reason` is the service's own sentence, or what went wrong
    on the way; `request_id` finds the request in the service's log, where the service gave one.
    """

    def __init__(self, reason: str, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.status, self.request_id = reason, status, request_id


class Transport:
    """A connection pool to one service. The key goes to its address only: no redirect is ever followed."""

    def __init__(self, url: str, key: str | None, timeout_s: Seconds, retry_s: Seconds) -> None:
        """Connect to nothing yet. Raises ParamsError for what is no address of a service."""
        self.url, self.host = _checked(url)
        self.key, self.retry_s = key, retry_s
        self.own_machine = is_own_address(self.host)
        if key is not None and not PLAIN.fullmatch(key):
            raise ParamsError("the API key is not one: it is empty, or has spaces or other letters than ASCII's")
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
            follow_redirects=False,
            trust_env=not self.own_machine,  # a proxy in the environment cannot reach this machine's own services
        )

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(self, method: str, path: str, patient: bool = False, **request: Any) -> Any:
        """Return the JSON that the service answers; None for an answer without a body.

        Args:
            method: GET, POST or DELETE.
            path: below the service's address, with a slash in front.
            patient: try again, too, where no answer comes. For requests that change nothing.
            request: as httpx takes it. A `files` that is callable is called for each try: files are read only once.

        Raises:
            ClientError: the service refused, or there was no usable answer.

        """
        response = self._sent(method, path, patient, request)
        if not response.content:
            return None
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError):
            reason = f"{self.url}{path}: the answer is not JSON: {response.text[:SHOWN]!r}; is this an lsgmer service?"
            raise ClientError(reason, response.status_code, response.headers.get("X-Request-ID")) from None

    def _sent(self, method: str, path: str, patient: bool, request: Mapping[str, Any]) -> httpx.Response:
        """Return a good answer, after as many tries as `retry_s` allows. Raises ClientError."""
        until, tries = time.monotonic() + self.retry_s, 0
        while True:
            problem, response = None, None
            try:
                response = self._once(method, path, request)
                if response.is_success:
                    return response
                problem = _refusal(response, self.url)
            except httpx.TransportError as error:
                problem = ClientError(f"{self.url}: {_said(error)}")
            again = patient if response is None else response.status_code in BUSY
            wait_s = min(FIRST_WAIT_S * 2**tries, LONGEST_WAIT_S)
            if response is not None:
                wait_s = max(wait_s, _retry_after(response.headers.get("Retry-After", "")))
            if not again or time.monotonic() + wait_s > until:
                raise problem
            time.sleep(wait_s)
            tries += 1

    def _once(self, method: str, path: str, request: Mapping[str, Any]) -> httpx.Response:
        given = dict(request)
        files = given.pop("files", None)
        opened = files() if callable(files) else files
        try:
            return self._http.request(method, self.url + path, files=opened, **given)
        finally:
            for _, part in opened or ():
                if hasattr(part[1], "close"):
                    part[1].close()


def parsed(kind: type[R], content: Any, url: str) -> R:
    """Return an answer as a `kind`; fields that a newer service added are left out. Raises ClientError."""
    try:
        return kind.model_validate_json(json.dumps(content), extra="ignore")
    except ValidationError as error:
        why = first_problem(error)
        raise ClientError(f"{url}: the answer is not a {kind.__name__} of this version of lsgmer: {why}") from None


def read_key(given: str | None, environment: Callable[[str], str | None]) -> str | None:
    """Return the API key that is `given`, or else in LSGMER_API_KEY; None for neither."""
    return given if given is not None else (environment("LSGMER_API_KEY") or None)


def _checked(url: str) -> tuple[str, str]:
    """Return the address without a slash at its end, and its host."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        _ = parts.port  # raises for what is no port
    except ValueError as error:
        raise ParamsError(f"{url}: not the address of a service: {error}; write http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ParamsError(f"{url}: not the address of a service; write http://HOST:PORT or https://HOST")
    if parts.username is not None or parts.password is not None:
        raise ParamsError(f"the address of {host} has a name or password in it; give an API key instead")
    return url.strip().rstrip("/"), host


def _refusal(response: httpx.Response, url: str) -> ClientError:
    """Return what is wrong with an answer that is no success."""
    status, request_id = response.status_code, response.headers.get("X-Request-ID")
    if response.is_redirect:
        where = response.headers.get("Location", "elsewhere")
        return ClientError(f"{url}: redirects to {where}; give the address that answers itself", status, request_id)
    try:
        content = response.json()
    except (ValueError, RecursionError):
        content = None
    reason = content.get("error") if isinstance(content, dict) else None
    if not isinstance(reason, str):
        said = f": {response.text[:SHOWN]!r}" if response.content else ""
        reason = f"{url}: answered {status} {response.reason_phrase} without a reason{said}; is this an lsgmer service?"
    return ClientError(reason, status, request_id)


def _retry_after(given: str) -> Seconds:
    """Return the seconds in a Retry-After header, which holds them or a date; 0 for what is neither."""
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return 0.0


def _said(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return (
            f"nothing answers there ({error or type(error).__name__}); is the service running, and the address right?"
        )
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time; give a longer timeout, or send less"
    return f"the connection broke: {error or type(error).__name__}; try again"
