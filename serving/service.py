"""The BentoML service: POST /predict and /predict_batch, the model's records, the page. Runs inside a built Bento."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import bentoml
import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

import lsgmer
from lsgmer.core.device import cores
from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import apply_environment, drop_native_lines, end_with_parent
from lsgmer.inference.prediction import Prediction
from lsgmer.registry.layout import MODEL_CARD
from lsgmer.service.settings import workers_for
from serving.calls import jobs, start, status, stop
from serving.form import PredictRequest, read_batch, read_feedback, read_form, settings
from serving.guard import Asked, Guard, Refusal, refusal_response
from serving.live import live
from serving.openapi import document

if TYPE_CHECKING:
    from lsgmer.inference.speakers import SpeakerLevels

ROOT = Path(__file__).parents[1]  # the Bento's src/, which holds model/, papers/ and serving/
WEB = Path(__file__).parent / "web"
MP3_DECODER = b"[src/libmpg123/"  # its remarks on faulty files, which the answer names anyway


async def page(request: Request) -> Response:
    """Return the page at /."""
    return FileResponse(WEB / "index.html")


async def card(request: Request) -> Response:
    """Return the model card as JSON."""
    return FileResponse(ROOT / "papers" / "model_card.json", media_type="application/json")


async def lineage(request: Request) -> Response:
    """Return which data, parameters and code made the model, as hashes."""
    service: EmotionService = request.app.state.service
    card = service.bundle.card
    found = {
        "model_version": service.bundle.tag,
        **card.lineage.model_dump(mode="json"),
        "features_sha256": card.train.feature_sha256,
        "encoders": {name: spec and spec.fingerprint for name, spec in card.train.encoders.items()},
        "transcriber": card.train.transcriber and card.train.transcriber.fingerprint,
        "versions": card.train.versions,
        "forced": None if card.forced is None else card.forced.model_dump(mode="json"),
    }
    return JSONResponse(found)


async def speakers(request: Request) -> Response:
    """Return how many speakers' audio levels are kept, and the limits; never their names."""
    levels: SpeakerLevels = request.app.state.levels
    limits = {"most": levels.speakers, "hours": levels.expire_s / 3600}
    return JSONResponse({"kept": len(levels), **limits})


async def forget(request: Request) -> Response:
    """Delete the audio level of a speaker."""
    levels: SpeakerLevels = request.app.state.levels
    if levels.delete(request.path_params["name"]):
        return Response(status_code=204)
    raise Refusal(404, "no audio level is kept for this speaker")


def demand_own_code(root: Path) -> None:
    """Raise LsgmerError unless the running code is that of the Bento in `root`: its version covers no other code."""
    found = Path(lsgmer.__file__).resolve().parents[1]
    if found != root.resolve():
        raise LsgmerError(
            f"the code that would answer is in {found}, not in the Bento {root.parent}; serve the Bento by its folder, "
            "as `lsgmer serve` does: bentoml serve FOLDER"
        )


async def predict_batch(request: Request) -> Response:
    """Estimate several utterances: an answer for each, in order, of which some may be errors."""
    service: EmotionService = request.app.state.service
    return await service.answer_batch(request)


async def feedback(request: Request) -> Response:
    """Record a label for an earlier answer."""
    service: EmotionService = request.app.state.service
    return await service.take_feedback(request)


async def openapi(request: Request) -> Response:
    """Return the description of this API."""
    service: EmotionService = request.app.state.service
    return JSONResponse(document(settings(), service.bundle.card.train.labels.names, service.bundle.tag))


async def refused(request: Request, refusal: Exception) -> Response:
    """Return the answer to a request that is refused: only a Refusal comes here."""
    return refusal_response(cast(Refusal, refusal), request.state.asked.request_id)


pages = Starlette(
    routes=[
        Route("/", page),
        Route("/card", card),
        Route("/lineage", lineage),
        Route("/openapi.json", openapi),
        Route("/predict_batch", predict_batch, methods=["POST"]),
        Route("/feedback", feedback, methods=["POST"]),
        Route("/analyze", start, methods=["POST"]),
        Route("/analyze", jobs),
        Route("/analyze/{name}", status),
        Route("/analyze/{name}", stop, methods=["DELETE"]),
        WebSocketRoute("/live", live),
        Route("/speakers", speakers),
        Route("/speakers/{name}", forget, methods=["DELETE"]),
        Mount("/web", StaticFiles(directory=WEB), name="web"),
    ],
    exception_handlers={Refusal: refused},
)


def workers() -> int:
    """Return how many processes answer: as the setting says, or as suits this machine and the model in the Bento."""
    if settings().workers:
        return settings().workers
    card = ROOT / MODEL_CARD
    keeps_levels = card.exists() and bool(json.loads(card.read_text(encoding="utf-8")).get("speakers"))
    return workers_for(cores(), psutil.virtual_memory().available, keeps_levels)


@bentoml.service(
    name="lsgmer", workers=workers(), traffic={"timeout": 3600}
)  # the guard's limits are the ones that count
@bentoml.asgi_app(pages, path="/")
class EmotionService:
    """Estimates the emotion of an utterance from its audio, its words, or both."""

    def __init__(self) -> None:
        # Building a Bento imports this module; only here, to load the model, is torch needed.
        apply_environment()
        drop_native_lines(MP3_DECODER)
        end_with_parent()  # BentoML's own process, which starts and stops this one
        demand_own_code(ROOT)
        from lsgmer.inference.speakers import SpeakerLevels
        from lsgmer.registry.bento import Bundle
        from serving.answers import Answers
        from serving.jobs import JobRunner

        self.bundle = Bundle.open(ROOT)
        self.levels = SpeakerLevels(self.bundle.card.speakers, 3600 * self.bundle.card.speaker_hours)
        self.answers = Answers(self.bundle.predictor(), self.levels, settings())
        self.jobs = JobRunner(self.answers, settings())
        pages.state.levels, pages.state.service, pages.state.jobs = self.levels, self, self.jobs

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Finish what was taken, and close the log."""
        self.jobs.close()
        self.answers.close()

    @bentoml.api(route="/predict", input_spec=PredictRequest, output_spec=Prediction)  # type: ignore[untyped-decorator]
    async def predict(
        self,
        audio: Path | None,
        text: str | None,
        previous: str | None,
        speaker: str | None,
        channel: str | None,
        transcribe: str | None,
        ctx: bentoml.Context,
    ) -> Response:
        """Estimate the emotion in an audio file, in the words, or in both together."""
        asked: Asked = ctx.request.state.asked
        try:
            fields = await read_form(ctx.request)
            (answer,) = await self.answers.answer([fields], asked, "/predict")
            if isinstance(answer, Refusal):
                raise answer
        except Refusal as refusal:
            ctx.response.status_code = refusal.status
            return refusal_response(refusal, asked.request_id)
        return JSONResponse(answer)

    async def answer_batch(self, request: Request) -> Response:
        """Answer POST /predict_batch."""
        asked: Asked = request.state.asked
        answers = await self.answers.answer(await read_batch(request), asked, "/predict_batch")
        found = [
            {"status": answer.status, "error": answer.reason, "request_id": f"{asked.request_id}/{i}"}
            if isinstance(answer, Refusal)
            else {"status": 200, **answer}
            for i, answer in enumerate(answers)
        ]
        return JSONResponse({"answers": found, "request_id": asked.request_id})

    async def take_feedback(self, request: Request) -> Response:
        """Answer POST /feedback: {"request_id": ..., "label": ...}."""
        about, label = await read_feedback(request)
        await self.answers.feedback(about, label, request.state.asked)
        return JSONResponse({"request_id": about, "label": label}, status_code=201)


EmotionService.add_asgi_middleware(Guard)  # type: ignore[attr-defined]  # the decorator makes it a bentoml.Service
