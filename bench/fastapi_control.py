"""What a good engineer would write around the same predictor with FastAPI: the control of `bench.load`."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, UploadFile

from lsgmer.core.process import apply_environment

apply_environment()

from lsgmer.audio import decode  # noqa: E402
from lsgmer.inference.predictor import Input  # noqa: E402
from lsgmer.registry.bento import Bundle  # noqa: E402

app = FastAPI()
predictor = Bundle.open(Path(os.environ["LSGMER_BENCH_BENTO"])).predictor()
worker = ThreadPoolExecutor(max_workers=1)  # as many prediction threads as the service has
predictor.predict([Input(text="one two three")])


@app.get("/readyz")
async def ready() -> dict[str, bool]:
    """Say that the model is loaded."""
    return {"ready": True}


@app.post("/predict")
async def predict(audio: Annotated[UploadFile, File()], text: Annotated[str, Form()]) -> dict[str, Any]:
    """Predict one utterance."""
    content = await audio.read()
    wave = await asyncio.to_thread(decode, content)
    item = Input(audio=wave, text=text)
    found = await asyncio.get_running_loop().run_in_executor(worker, predictor.predict, [item])
    return found[0].model_dump(mode="json")
