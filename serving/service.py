"""The BentoML service: POST /predict, GET /card, the page at /. It runs inside a built Bento.

One process and one prediction thread. A second, batching service (BentoML's internal API) was considered:
docs/decisions/0010-one-process.md has the numbers.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import lsgmer
from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import apply_environment
from lsgmer.inference.prediction import Prediction
from serving.form import (
    HOW,
    MAX_AUDIO_S,
    MAX_CHANNELS,
    MAX_SAMPLE_RATE,
    PredictRequest,
    Refusal,
    clean_text,
    read_channel,
    read_previous,
    read_speaker,
    request_id,
)

if TYPE_CHECKING:
    from lsgmer.audio import Waveform
    from lsgmer.inference.predictor import Input
    from lsgmer.inference.speakers import SpeakerLevels

ROOT = Path(__file__).parents[1]  # the Bento's src/, which holds model/, papers/ and serving/
WEB = Path(__file__).parent / "web"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; media-src blob:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def page(request: Request) -> Response:
    """Return the page at /."""
    return FileResponse(WEB / "index.html", headers=PAGE_HEADERS)


async def card(request: Request) -> Response:
    """Return the model card as JSON."""
    return FileResponse(ROOT / "papers" / "model_card.json", media_type="application/json")


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
    return JSONResponse({"error": "no audio level is kept for this speaker"}, status_code=404)


def demand_own_code(root: Path) -> None:
    """Raise LsgmerError unless the running code is that of the Bento in `root`: its version covers no other code."""
    found = Path(lsgmer.__file__).resolve().parents[1]
    if found != root.resolve():
        raise LsgmerError(
            f"the code that would answer is in {found}, not in the Bento {root.parent}; serve the Bento by its folder, "
            "as `lsgmer serve` does: bentoml serve FOLDER"
        )


pages = Starlette(
    routes=[
        Route("/", page),
        Route("/card", card),
        Route("/speakers", speakers),
        Route("/speakers/{name}", forget, methods=["DELETE"]),
        Mount("/web", StaticFiles(directory=WEB), name="web"),
    ]
)


@bentoml.service(name="lsgmer", workers=1, traffic={"timeout": 60})
@bentoml.asgi_app(pages, path="/")
class EmotionService:
    """Estimates the emotion of an utterance from its audio, its words, or both."""

    def __init__(self) -> None:
        # Building a Bento imports this module; only here, to load the model, is torch needed.
        apply_environment()
        demand_own_code(ROOT)
        from lsgmer.audio import OutOfLimits
        from lsgmer.inference.predictor import Input
        from lsgmer.inference.speakers import SpeakerLevels
        from lsgmer.registry.bento import Bundle

        bundle = Bundle.open(ROOT)
        self.predictor = bundle.predictor()
        self.levels = SpeakerLevels(bundle.card.speakers, 3600 * bundle.card.speaker_hours)
        pages.state.levels = self.levels
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self.input, self.out_of_limits = Input, OutOfLimits

    @bentoml.api(route="/predict", input_spec=PredictRequest, output_spec=Prediction)  # type: ignore[untyped-decorator]
    async def predict(
        self,
        audio: Path | None,
        text: str | None,
        previous: str | None,
        speaker: str | None,
        channel: str | None,
        ctx: bentoml.Context,
    ) -> Response:
        """Estimate the emotion in an audio file (at most 60 s, 25 MiB), in the words, or in both together."""
        answer_id = request_id(ctx.request)
        ctx.response.headers["X-Request-ID"] = answer_id
        try:
            if refusal := getattr(ctx.request.state, "refusal", None):
                raise refusal
            prediction = await self._predict(audio, text, previous, speaker, channel)
        except Refusal as refusal:
            ctx.response.status_code = refusal.status
            return JSONResponse({"error": refusal.reason, "request_id": answer_id})
        return JSONResponse({**prediction.model_dump(mode="json"), "request_id": answer_id})

    async def _predict(
        self, audio: Path | None, text: str | None, previous: str | None, speaker: str | None, channel: str | None
    ) -> Prediction:
        words, who, which = clean_text(text), read_speaker(speaker), read_channel(channel)
        before = read_previous(previous, who)
        if audio is None and words is None:
            raise Refusal(400, f"neither audio nor text was given; {HOW}")
        if audio is None and which is not None:
            raise Refusal(400, "channel: there is no audio to read it from; send audio, or leave channel out")
        wave = (
            await asyncio.to_thread(read_waveform, audio.read_bytes(), which, self.predictor.channel)
            if audio is not None
            else None
        )
        item = self.input(audio=wave, text=words, previous=before, speaker=who)
        loop = asyncio.get_running_loop()
        try:
            return (await loop.run_in_executor(self.worker, self._answer, item))[0]
        except self.out_of_limits as error:
            raise Refusal(422, str(error)) from error
        except LsgmerError as error:
            raise Refusal(400, str(error)) from error

    def _answer(self, item: Input) -> list[Prediction]:
        return self.predictor.predict([item], levels=self.levels)


def read_waveform(content: bytes, channel: int | None = None, usual: int | None = None) -> Waveform:
    """Decode an uploaded file: `channel` of it, or the `usual` one of several, or all, mixed.

    Raises Refusal when it is not audio, too long, would take too much memory, or has no such channel.

    The header is read first: a few MB of compressed silence can decode to many GB.
    """
    from lsgmer.audio import AudioError, channel_to_read, decode, form

    if not content:
        raise Refusal(400, "audio: the file is empty")
    try:
        rate, channels = form(content)
        if channels > MAX_CHANNELS or not 0 < rate <= MAX_SAMPLE_RATE:
            raise Refusal(422, f"audio: {channels} channels at {rate} Hz is more than can be read")
        return decode(content, channel=channel_to_read(content, channel, usual), limit_s=MAX_AUDIO_S)
    except AudioError as error:
        raise Refusal(422 if error.readable else 400, str(error)) from error  # "audio: ..."
