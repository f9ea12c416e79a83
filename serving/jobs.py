"""Runs the analyses of calls, one at a time, in a thread beside the one that predicts."""

from __future__ import annotations

import logging
import shutil
import threading
import time

from lsgmer.conversations.analyze import Analyzer, Progress, Request
from lsgmer.conversations.steps import FolderSteps
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.service.jobs import ATTEMPTS, RESULT, STEPS, UPLOAD, Job, JobStore, temporary_folder
from lsgmer.service.locking import lock_file
from lsgmer.service.settings import ServiceSettings
from lsgmer.speech.silero import Silero
from serving.answers import Answers
from serving.batches import Closed
from serving.turns import Turns

ROUTE = "/analyze"
TOGETHER = 4  # turns, for which a request that comes meanwhile has to wait
LOOK_S = 2.0  # between looks for jobs that another process took
TIDY_S = 60.0
REPORT_S = 0.5
log = logging.getLogger("lsgmer.serving")


class Cancelled(Exception):
    """Somebody asked for the job to stop."""


class JobRunner:
    """Takes jobs from the store, oldest first, and keeps how each of them ends."""

    def __init__(self, answers: Answers, settings: ServiceSettings) -> None:
        self.answers, self.settings = answers, settings
        self.store = JobStore(settings.jobs or temporary_folder(), settings.job_hours)
        self._changed, self._closed = threading.Condition(), False
        self._voices: Silero | None = None
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is a new job."""
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Stop at the next turn of the call; a job that is not done is resumed when the service is started again."""
        self._closed = True
        self.wake()
        self._thread.join(timeout=10)
        if self.settings.jobs is None:
            shutil.rmtree(self.store.folder, ignore_errors=True)

    @property
    def voices(self) -> Silero:
        """The model that finds turns, loaded when it is first needed."""
        if self._voices is None:
            self._voices = Silero.load()
        return self._voices

    def _run(self) -> None:
        with lock_file(self.store.running):  # waits where another process of this service runs the jobs
            tidied = time.monotonic() - TIDY_S
            while not self._closed:
                try:
                    if time.monotonic() - tidied >= TIDY_S:
                        tidied = time.monotonic()
                        self.store.tidy(2 * self.settings.call_upload_s)
                    waiting = self.store.unfinished()
                    if waiting:
                        self._work(waiting[0])
                        continue
                except Exception:
                    log.exception("the folder of the jobs cannot be used")
                with self._changed:
                    if not self._closed:
                        self._changed.wait(LOOK_S)

    def _work(self, job: Job) -> None:
        if self.store.is_cancelled(job):
            self.store.finish(job, "cancelled")
            return
        if job.attempts >= ATTEMPTS:
            self.store.finish(job, "failed", f"the service ended {ATTEMPTS} times while it worked on this call")
            return
        job = job.model_copy(update={"status": "running", "attempts": job.attempts + 1})
        self.store.write(job)
        try:
            self._analyze(job)
        except Cancelled:
            self.store.finish(job, "cancelled")
        except Closed:  # not this call's fault
            self.store.write(job.model_copy(update={"attempts": job.attempts - 1}))
        except LsgmerError as error:
            self.store.finish(job, "failed", str(error).replace(f"{self.store.path(job) / UPLOAD}:", "audio:"))
        except Exception:
            log.exception("job %s failed", job.id)
            self.store.finish(job, "failed", "an error of the service, not of the call; its log has the details")

    def _analyze(self, job: Job) -> None:
        folder, asked = self.store.path(job), job.request
        turns = Turns(self.answers, job.id, ROUTE, job.key, background=True, audio_sha256=job.upload_sha256)
        analyzer = Analyzer(turns, self.voices, self.answers.transcriber, batch=TOGETHER)
        request = Request(
            turns=asked.turns,
            speakers=asked.speakers,
            negative=asked.negative,
            transcribe=asked.transcribe,
            most_s=self.settings.max_call_s,
            most_channels=self.settings.max_channels,
            most_rate=self.settings.max_sample_rate,
        )
        last = time.monotonic() - REPORT_S

        def report(progress: Progress) -> None:
            nonlocal last
            if self._closed:
                raise Closed
            if self.store.is_cancelled(job):
                raise Cancelled
            if time.monotonic() - last >= REPORT_S or progress.share == 1:
                last = time.monotonic()
                told = {"stage": progress.stage, "progress": round(progress.share, 4)}
                self.store.report(job, {**told, "turns_done": progress.turns_done, "turns": progress.turns})

        steps = FolderSteps(folder / STEPS)
        analysis = analyzer.analyze(folder / UPLOAD, request, folder / STEPS, report, steps)
        write_atomically(folder / RESULT, analysis.to_json(), mode=0o600)
        self.store.finish(job, "done")
