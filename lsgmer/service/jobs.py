"""Analyses of calls as jobs in a folder: they survive a restart, belong to the key that asked, and are forgotten."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import psutil

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.records import Record
from lsgmer.turns.turn import Turn

Status = Literal["queued", "running", "done", "failed", "cancelled"]
UNFINISHED: tuple[Status, ...] = ("queued", "running")
ID = re.compile(r"[0-9a-f]{32}")
UPLOAD, JOB, PROGRESS, RESULT, CANCEL, ENDED = "upload", "job.json", "progress.json", "result.json", "cancel", "ended"
STEPS = "steps"
TEMPORARY = "lsgmer-jobs-"
ATTEMPTS = 3  # times that a job may end the service before it is given up


class JobRequest(Record):
    """What was asked about a call."""

    turns: tuple[Turn, ...] | None = None
    speakers: tuple[str, ...] = ()
    negative: tuple[str, ...] | None = None
    transcribe: bool = False


class Job(Record):
    """One analysis. `key` is the name of the API key that asked; `attempts` how often it was begun; times in UTC."""

    id: str
    request_id: str
    request: JobRequest
    key: str | None = None
    upload_sha256: str | None = None
    status: Status = "queued"
    error: str | None = None
    attempts: int = 0
    created: str
    finished: str | None = None


def temporary_folder() -> Path:
    """Return a folder for the jobs of the service that started this process; delete those of services that are gone.

    Raises LsgmerError where somebody else made it.
    """
    base = Path(tempfile.gettempdir())
    for path in base.glob(f"{TEMPORARY}*"):
        number = path.name.removeprefix(TEMPORARY)
        if number.isdigit() and not psutil.pid_exists(int(number)) and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)
    folder = base / f"{TEMPORARY}{os.getppid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise LsgmerError(f"{folder}: belongs to somebody else; name a folder for the jobs: LSGMER_SERVICE_JOBS")
    return folder


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class JobStore:
    """The jobs in a folder that only its owner can read, for any number of processes.

    A job's folder holds the recording until the job ends, and the result until it is deleted or `hours` have passed.
    """

    def __init__(self, folder: Path, hours: float) -> None:
        self.folder, self.hours = folder, hours
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.running = folder / "running.lock"  # whoever holds it runs the jobs, one at a time

    def place(self) -> Path:
        """Return the new folder of a job whose recording is still arriving."""
        path = self.folder / uuid.uuid4().hex
        path.mkdir(mode=0o700)
        return path

    def add(self, place: Path, request: JobRequest, request_id: str, key: str | None, sha256: str) -> Job:
        """Return the job of a recording that lies in `place`, as UPLOAD: from now on it waits for its turn."""
        (place / STEPS).mkdir(mode=0o700)
        job = Job(id=place.name, request_id=request_id, request=request, key=key, upload_sha256=sha256, created=now())
        self.write(job)
        return job

    def path(self, job: Job) -> Path:
        """Return the folder of a job."""
        return self.folder / job.id

    def write(self, job: Job) -> None:
        """Keep the job's record."""
        write_atomically(self.path(job) / JOB, job.to_json())

    def find(self, name: str, key: str | None) -> Job | None:
        """Return the job `name` if there is one that `key` asked for."""
        if not ID.fullmatch(name):
            return None
        job = self._read(self.folder / name)
        return job if job is not None and job.key == key else None

    def all(self) -> list[Job]:
        """Return every job, oldest first."""
        return self._sorted(self._places())

    def unfinished(self) -> list[Job]:
        """Return the jobs that wait or run, oldest first; of others, no record is read."""
        found = self._sorted(path for path in self._places() if not (path / ENDED).exists())
        return [job for job in found if job.status in UNFINISHED]

    def _places(self) -> Iterator[Path]:
        return (path for path in self.folder.iterdir() if ID.fullmatch(path.name))

    def _sorted(self, places: Iterable[Path]) -> list[Job]:
        found = [job for path in places if (job := self._read(path))]
        return sorted(found, key=lambda job: (job.created, job.id))

    def progress(self, job: Job) -> dict[str, Any]:
        """Return what was last said about the job's progress."""
        with suppress(OSError, ValueError):
            return dict(json.loads((self.path(job) / PROGRESS).read_text(encoding="utf-8")))
        return {}

    def report(self, job: Job, progress: dict[str, Any]) -> None:
        """Keep how far the job is."""
        write_atomically(self.path(job) / PROGRESS, json.dumps(progress))

    def result(self, job: Job) -> dict[str, Any] | None:
        """Return the analysis of a job that is done."""
        with suppress(OSError, ValueError):
            return dict(json.loads((self.path(job) / RESULT).read_text(encoding="utf-8")))
        return None

    def cancel(self, job: Job) -> None:
        """Ask whoever runs the job to stop; one that still waits is cancelled when its turn comes."""
        with suppress(FileNotFoundError):
            (self.path(job) / CANCEL).touch()

    def is_cancelled(self, job: Job) -> bool:
        """Return whether somebody asked for the job to stop."""
        return (self.path(job) / CANCEL).exists()

    def finish(self, job: Job, status: Status, error: str | None = None) -> Job:
        """Keep how the job ended, and delete the recording and what was made of it on the way."""
        ended = job.model_copy(update={"status": status, "error": error, "finished": now()})
        self.write(ended)
        (self.path(job) / ENDED).touch()
        (self.path(job) / UPLOAD).unlink(missing_ok=True)
        shutil.rmtree(self.path(job) / STEPS, ignore_errors=True)
        return ended

    def delete(self, job: Job) -> None:
        """Delete everything of a job."""
        shutil.rmtree(self.path(job), ignore_errors=True)

    def tidy(self, arriving_s: float) -> None:
        """Delete what is older than it may be: finished jobs, and recordings that never arrived whole."""
        oldest = datetime.now(UTC) - timedelta(hours=self.hours)
        for job in self.all():
            if job.finished is not None and datetime.fromisoformat(job.finished) < oldest:
                self.delete(job)
        for path in self._without_record():
            with suppress(OSError):
                if datetime.now(UTC).timestamp() - path.stat().st_mtime > arriving_s:
                    shutil.rmtree(path, ignore_errors=True)

    def _without_record(self) -> Iterator[Path]:
        return (path for path in self._places() if not (path / JOB).exists())

    @staticmethod
    def _read(path: Path) -> Job | None:
        with suppress(OSError, ValueError):  # deleted meanwhile, or not yet written
            return Job.model_validate_json((path / JOB).read_text(encoding="utf-8"))
        return None
