"""Runs the analyses of calls, one at a time, in a thread beside the one that predicts."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lsgmer.conversations.analyze import Analyzer, Progress, Request
from lsgmer.conversations.steps import FolderSteps
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.inference.prediction import Prediction
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.service.entries import Inputs
from lsgmer.service.jobs import ATTEMPTS, RESULT, STEPS, UPLOAD, Job, JobStore
from lsgmer.service.locking import lock_file
from lsgmer.service.settings import ServiceSettings
from lsgmer.speech.silero import Silero
from lsgmer.turns.turn import Turn
from serving.answers import Answers
from serving.batches import Closed

ROUTE = "/analyze"
LOOK_S = 2.0  # between looks for jobs that another process took
REPORT_S = 0.5
log = logging.getLogger("lsgmer.serving")


class Cancelled(Exception):
    """Somebody asked for the job to stop."""


class Turns:
    """Estimates the turns of one job when no request waits, and logs each."""

    def __init__(self, answers: Answers, job: Job) -> None:
        self.answers, self.job = answers, job

    @property
    def predictor(self) -> Predictor:
        """The model that is served."""
        return self.answers.predictor

    def enrol(self, items: Sequence[Input], levels: SpeakerLevels) -> None:
        """Add the audio of `items` to their speakers' levels."""
        self.answers.enrol(items, levels)

    def predict(self, turns: Mapping[int, Turn], items: Sequence[Input], levels: SpeakerLevels) -> list[Prediction]:
        """Return a prediction for each turn, once all are in the log."""
        started = time.perf_counter()
        found = self.answers.turns(items, levels, background=True)
        latency_ms = 1000 * (time.perf_counter() - started)
        for index, item, answer in zip(turns, items, found, strict=True):
            self._log(f"{self.job.id}/{index}", turns[index], item, answer, latency_ms)
        return found

    def _log(self, name: str, turn: Turn, item: Input, answer: Prediction, latency_ms: float) -> None:
        records = self.answers.log
        if records is None:
            return
        lines = [(line.text, line.same_speaker) for line in item.previous]
        inputs: Inputs = records.inputs(None, item.words, lines, turn.channel, item.speaker is not None)
        place = {"audio_sha256": self.job.upload_sha256, "start_s": turn.start_s, "end_s": turn.end_s}
        entry = self.answers.entry(name, ROUTE, self.job.key, inputs.model_copy(update=place), answer, latency_ms)
        records.append(entry)


class JobRunner:
    """Takes jobs from the store, oldest first, and keeps how each of them ends."""

    def __init__(self, answers: Answers, settings: ServiceSettings) -> None:
        self.answers, self.settings = answers, settings
        self._own = None if settings.jobs else tempfile.TemporaryDirectory(prefix="lsgmer-jobs-")
        folder = Path(self._own.name) if self._own else Path(str(settings.jobs))
        self.store = JobStore(folder, settings.job_hours)
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
        if self._own is not None:
            self._own.cleanup()

    @property
    def voices(self) -> Silero:
        """The model that finds turns, loaded when it is first needed."""
        if self._voices is None:
            self._voices = Silero.load()
        return self._voices

    def _run(self) -> None:
        with lock_file(self.store.running):  # waits where another process of this service runs the jobs
            while not self._closed:
                try:
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
        analyzer = Analyzer(Turns(self.answers, job), self.voices, self.answers.transcriber, batch=4)
        request = Request(
            turns=asked.turns,
            speakers=asked.speakers,
            negative=asked.negative,
            transcribe=asked.transcribe,
            most_s=self.settings.max_call_s,
        )
        last = -REPORT_S

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
