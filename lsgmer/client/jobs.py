"""An analysis of a call that the service makes: how far it is, what it found, and how to stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from lsgmer.client.transport import ClientError, Transport, parsed
from lsgmer.conversations.records import Analysis
from lsgmer.core.records import Record, Seconds

FIRST_POLL_S, LONGEST_POLL_S = 0.2, 2.0


class JobStatus(Record):
    """How far an analysis is. `progress` is in [0, 1]; `result` is there once `status` is done, `error` once failed."""

    job_id: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = 0.0
    stage: str | None = None
    turns_done: int | None = None
    turns: int | None = None
    error: str | None = None
    created: str | float | None = None
    finished: str | float | None = None
    result: Analysis | None = None


class Job:
    """An analysis in the service, by its id."""

    def __init__(self, transport: Transport, id: str) -> None:
        self._transport, self.id = transport, id

    def status(self) -> JobStatus:
        """Return how far it is. Raises ClientError, status 404 for a job that was deleted or never was."""
        return parsed(JobStatus, self._transport.json("GET", f"/analyze/{self.id}", patient=True), self._transport.url)

    def wait(self, progress: Callable[[JobStatus], None] | None = None, timeout_s: Seconds | None = None) -> Analysis:
        """Return the result once it is there.

        Args:
            progress: is called with each status, about every two seconds.
            timeout_s: how long to wait; None: as long as it takes. The job continues when the time is over.

        Raises:
            ClientError: the analysis failed or was cancelled, the time is over, or the service does not answer.

        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = FIRST_POLL_S
        while True:
            found = self.status()
            if progress is not None:
                progress(found)
            if found.status in ("done", "failed", "cancelled"):
                return self._result(found)
            if until is not None and time.monotonic() + pause_s > until:
                raise ClientError(f"the analysis {self.id} is not done after {timeout_s:g} s; it goes on")
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)

    def result(self) -> Analysis:
        """Return the result. Raises ClientError where there is none (yet)."""
        return self._result(self.status())

    def cancel(self) -> None:
        """Stop it where it still runs, and delete what the service keeps of it. Raises ClientError."""
        self._transport.json("DELETE", f"/analyze/{self.id}")

    def _result(self, found: JobStatus) -> Analysis:
        if found.status == "failed":
            raise ClientError(found.error or f"the analysis {self.id} failed; the service's log may say why")
        if found.result is None:
            raise ClientError(f"the analysis {self.id} is {found.status}: it has no result")
        return found.result
