"""POST /analyze and what it starts: jobs, their progress and their results. Nothing heavy is imported here."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lsgmer.service.jobs import UNFINISHED, UPLOAD, Job
from serving.call_form import read_call
from serving.form import settings
from serving.guard import Asked, Refusal

if TYPE_CHECKING:
    from serving.jobs import JobRunner

NONE = "there is no such job; a finished one is kept for {hours:g} hours (job_hours)"


async def start(request: Request) -> Response:
    """Take a call: 202 and a job, which is worked on when no request waits."""
    runner: JobRunner = request.app.state.jobs
    asked: Asked = request.state.asked
    await _demand_room(runner)
    place = await asyncio.to_thread(runner.store.place)
    try:
        labels = runner.answers.labels
        wanted, sha256 = await read_call(request, place / UPLOAD, labels, runner.answers.transcriber is not None)
        await _demand_room(runner)
        job = await asyncio.to_thread(runner.store.add, place, wanted, asked.request_id, asked.key, sha256)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    runner.wake()
    content = {"job_id": job.id, "status": job.status, "request_id": asked.request_id}
    return JSONResponse(content, status_code=202, headers={"Location": f"/analyze/{job.id}"})


async def jobs(request: Request) -> Response:
    """Return the caller's own jobs, oldest first, and the limits."""
    runner: JobRunner = request.app.state.jobs
    asked: Asked = request.state.asked
    own = [job for job in await asyncio.to_thread(runner.store.all) if job.key == asked.key]
    limits = {name: getattr(settings(), name) for name in ("max_call_mib", "max_call_s", "max_turns", "max_jobs")}
    listed = [{"job_id": job.id, "status": job.status, "created": job.created} for job in own]
    return JSONResponse({"jobs": listed, "limits": limits, "transcribes": runner.answers.transcriber is not None})


async def status(request: Request) -> Response:
    """Return how far a job is, and its result when it is done."""
    runner: JobRunner = request.app.state.jobs
    job = await _job(request)
    return JSONResponse(await asyncio.to_thread(_told, runner, job))


async def stop(request: Request) -> Response:
    """Cancel a job that is not done, or delete one that is."""
    runner: JobRunner = request.app.state.jobs
    job = await _job(request)
    await asyncio.to_thread(runner.store.cancel if job.status in UNFINISHED else runner.store.delete, job)
    runner.wake()
    return Response(status_code=204)


async def _job(request: Request) -> Job:
    runner: JobRunner = request.app.state.jobs
    asked: Asked = request.state.asked
    job = await asyncio.to_thread(runner.store.find, request.path_params["name"], asked.key)
    if job is None:
        raise Refusal(404, NONE.format(hours=settings().job_hours))
    return job


def _told(runner: JobRunner, job: Job) -> dict[str, Any]:
    done = job.status == "done"
    progress = {"stage": "queued", "progress": 0.0, "turns_done": 0, "turns": 0} | runner.store.progress(job)
    if done:
        progress |= {"stage": "done", "progress": 1.0}
    return {
        "job_id": job.id,
        "status": job.status,
        **progress,
        "error": job.error,
        "created": job.created,
        "finished": job.finished,
        "request_id": job.request_id,
        "result": runner.store.result(job) if done else None,
    }


async def _demand_room(runner: JobRunner) -> None:
    most = settings().max_jobs
    if len(await asyncio.to_thread(runner.store.unfinished)) >= most:
        raise Refusal(503, f"{most} calls wait or are analysed (max_jobs); try again later", retry=True)
