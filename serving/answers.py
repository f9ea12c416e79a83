"""From the fields of a request to its answer: decode, predict among what waits, log, and only then answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsgmer.audio import AudioError, OutOfLimits, Waveform, channel_to_read, decode, form
from lsgmer.core.device import cores
from lsgmer.core.errors import LsgmerError
from lsgmer.inference.prediction import AutomaticTranscript, Prediction
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.model.train_card import Abstention
from lsgmer.service.entries import FeedbackEntry, Inputs, Output, PredictionEntry
from lsgmer.service.log_report import find
from lsgmer.service.prediction_log import PredictionLog
from lsgmer.service.settings import ServiceSettings
from serving.batches import Batches, Busy, Closed
from serving.form import Fields
from serving.guard import Asked, Refusal

if TYPE_CHECKING:
    from lsgmer.speech.transcribe import Transcriber

WARM_UP = "one two three"
BYTES = 4  # of a decoded sample


class Answers:
    """Answers utterances with a model: decoding in threads, predicting in batches, and a line in the log for each."""

    def __init__(self, predictor: Predictor, levels: SpeakerLevels, settings: ServiceSettings) -> None:
        self.predictor, self.levels, self.settings = predictor, levels, settings
        self.labels = predictor.card.labels.names
        if settings.abstain and predictor.card.abstention is None:
            raise LsgmerError(
                "the setting abstain: this model's card names no threshold, since its training found none at which "
                "train.abstain_risk is kept, or is older than that; switch it off, or train with a larger risk"
            )
        self.log = PredictionLog(settings.log, sync=settings.log_sync) if settings.log else None
        self.transcriber = self._transcriber() if settings.transcribes else None
        self._transcribers = ThreadPoolExecutor(cores(), thread_name_prefix="transcribe")
        self._decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
        if "text" in predictor.modalities:  # the first prediction is slow: a service that is ready has made it
            predictor.predict([Input(text=WARM_UP)])
        self._decoding = asyncio.Semaphore(cores())  # so that decode_s counts from when a thread is free
        self._batches = Batches(
            self._predict, settings.batch_items, settings.max_waiting, settings.max_waiting_mib * 2**20
        )

    def close(self) -> None:
        """Finish what was taken, and close the log."""
        self._batches.close()
        for threads in (self._decoders, self._transcribers):
            threads.shutdown(cancel_futures=True)
        if self.log:
            self.log.close()

    async def answer(
        self, given: Sequence[Fields | Refusal], asked: Asked, route: str
    ) -> list[dict[str, Any] | Refusal]:
        """Return, for each utterance, the answer or the refusal; each is in the log when this returns."""
        prepared = await asyncio.gather(*(self._prepared(fields) for fields in given))
        names = [asked.request_id if route == "/predict" else f"{asked.request_id}/{i}" for i in range(len(given))]
        try:
            predictions = iter(
                await self._batches.predict([item for item, _ in prepared if not isinstance(item, Refusal)])
            )
        except (Busy, Closed) as reason:
            refusal = self._no_room(reason)
            for name, (_, inputs) in zip(names, prepared, strict=True):
                await self._log(name, route, asked, inputs, refusal)
            raise refusal from None
        answers: list[dict[str, Any] | Refusal] = []
        for name, (item, inputs) in zip(names, prepared, strict=True):
            answer = item if isinstance(item, Refusal) else self._outcome(next(predictions))
            await self._log(name, route, asked, inputs, answer)
            if isinstance(answer, Refusal):
                answers.append(answer)
            else:
                answers.append({**answer.model_dump(mode="json"), "request_id": name})
        return answers

    def _no_room(self, reason: Busy | Closed) -> Refusal:
        if isinstance(reason, Closed):
            return Refusal(503, "the service is stopping; ask again, it may be back", retry=True)
        most = f"{self.settings.max_waiting} (max_waiting) with {self.settings.max_waiting_mib:g} MiB of audio"
        return Refusal(503, f"too many utterances wait, at most {most} may; try again", retry=True)

    async def _prepared(self, fields: Fields | Refusal) -> tuple[Input | Refusal, Inputs]:
        """Return the decoded input or why there is none, and what the log keeps of it."""
        if isinstance(fields, Refusal):
            return fields, Inputs()
        inputs = Inputs()
        try:
            async with self._decoding:
                work = asyncio.get_running_loop().run_in_executor(self._decoders, self._decoded, fields)
                inputs, item = await asyncio.wait_for(work, self.settings.decode_s)
        except TimeoutError:
            return Refusal(422, f"audio: decoding took longer than {self.settings.decode_s:g} s (decode_s)"), inputs
        if fields.transcribe and not isinstance(item, Refusal):
            item = await self._with_words(item)
        return item, inputs

    def _transcriber(self) -> Transcriber:
        """Return what the settings name; say so where training's automatic words are from another one."""
        from lsgmer.speech.transcribe import transcriber_called

        found = transcriber_called(self.settings.transcribe, Path.cwd(), self.predictor.device)
        trained = self.predictor.card.transcriber
        if trained is not None and trained.fingerprint != found.spec.fingerprint:
            print(
                f"transcribe: {found.spec.kind} is not what wrote the words that the model was trained on", flush=True
            )
        return found

    async def _with_words(self, item: Input) -> Input:
        """Return the input with what a machine hears in it, where the model reads words and none are given."""
        if self.transcriber is None or item.audio is None or item.words or "text" not in self.predictor.modalities:
            return item
        loop = asyncio.get_running_loop()
        heard = await loop.run_in_executor(self._transcribers, self.transcriber.transcribe, item.audio)
        return replace(item, transcript=AutomaticTranscript(text=heard.text, reason=heard.reason))

    def _decoded(self, fields: Fields) -> tuple[Inputs, Input | Refusal]:
        inputs = Inputs()
        if self.log is not None:
            lines = [(line.text, line.same_speaker) for line in fields.previous]
            inputs = self.log.inputs(fields.audio, fields.text, lines, fields.channel, fields.speaker is not None)
        try:
            usual = self.predictor.channel
            wave = None if fields.audio is None else read_waveform(fields.audio, fields.channel, usual, self.settings)
        except Refusal as refusal:
            return inputs, refusal
        return inputs, Input(audio=wave, text=fields.text, previous=fields.previous, speaker=fields.speaker)

    def _predict(self, items: Sequence[Input]) -> list[Prediction]:
        return self.predictor.predict(items, batch_size=self.settings.batch_items, levels=self.levels)

    def turns(
        self, items: Sequence[Input], levels: SpeakerLevels, background: bool, learn: bool = False
    ) -> list[Prediction]:
        """Return predictions for turns of a conversation, from any thread but the event loop's; wait for them.

        Raises Closed when the service is stopping.
        """
        work = partial(self.predictor.predict, items, levels=levels, learn=learn)
        return [self.judged(answer) for answer in self._batches.run(work, background).result()]

    def enrol(self, items: Sequence[Input], levels: SpeakerLevels, background: bool) -> None:
        """Add the audio of `items` to their speakers' levels, as `turns` does. Raises Closed."""
        self._batches.run(partial(self.predictor.enrol, items, levels), background).result()

    def _outcome(self, prediction: Prediction | LsgmerError) -> Prediction | Refusal:
        """Return what is answered: a prediction, or why there is none."""
        if isinstance(prediction, LsgmerError):
            return Refusal(422 if isinstance(prediction, OutOfLimits) else 400, str(prediction))
        return self.judged(prediction)

    def judged(self, prediction: Prediction) -> Prediction:
        """Return the prediction, without its emotion where the model is less sure than its card demands."""
        abstention: Abstention | None = self.predictor.card.abstention
        if not self.settings.abstain or abstention is None:
            return prediction
        if max(prediction.probabilities.values()) >= abstention.threshold:
            return prediction
        return prediction.model_copy(update={"emotion": None, "abstained": True})

    async def _log(self, name: str, route: str, asked: Asked, inputs: Inputs, answer: Prediction | Refusal) -> None:
        latency_ms = 1000 * (time.perf_counter() - asked.started)
        await self._append(self.entry(name, route, asked.key, inputs, answer, latency_ms))

    def entry(
        self,
        name: str,
        route: str,
        key: str | None,
        inputs: Inputs,
        answer: Prediction | Refusal,
        latency_ms: float,
    ) -> PredictionEntry:
        """Return what the log keeps of an answer."""
        output, warnings, status = None, 0, 200
        if isinstance(answer, Refusal):
            status = answer.status
        else:
            warnings = len(answer.warnings)
            output = Output(
                emotion=answer.emotion,
                probabilities=answer.probabilities,
                consistency=answer.consistency,
                abstained=answer.abstained,
                transcribed=answer.transcript is not None and bool(answer.transcript.text),
            )
        return PredictionEntry(
            request_id=name,
            route=route,
            status=status,
            inputs=inputs,
            output=output,
            warnings=warnings,
            latency_ms=latency_ms,
            model_version=self.predictor.version,
            key=key,
        )

    async def _append(self, entry: PredictionEntry | FeedbackEntry) -> None:
        """Append to the log before anybody is answered. Raises Refusal when that fails: nothing goes out unlogged."""
        if self.log is None:
            return
        try:
            if self.settings.log_sync:
                await asyncio.to_thread(self.log.append, entry)
            else:
                self.log.append(entry)  # some tens of microseconds
        except LsgmerError as error:
            raise Refusal(503, f"the answer could not be logged, so it is not given: {error}", retry=True) from error

    async def feedback(self, about: str, label: str, asked: Asked) -> None:
        """Log that `label` is right for the answer `about`. Raises Refusal where there is no log, or no such answer."""
        if self.log is None:
            raise Refusal(409, "no answers are logged here, so there is none to comment on; set LSGMER_SERVICE_LOG")
        if label not in self.labels:
            raise Refusal(400, f"label: not one of {', '.join(self.labels)}")
        lines = await asyncio.to_thread(find, self.log.folder, about)
        if not any(line.content.get("kind") == "prediction" for line in lines):
            raise Refusal(404, "request_id: no answer with this id is in the log")
        await self._append(FeedbackEntry(request_id=about, label=label, key=asked.key))


def read_waveform(content: bytes, channel: int | None, usual: int | None, most: ServiceSettings) -> Waveform:
    """Decode an uploaded file: `channel` of it, or the `usual` one of several, or all, mixed.

    Raises Refusal when it is not audio, too long, would take too much memory, or has no such channel.

    The header is read first: a few MB of compressed silence can decode to many GB.
    """
    if not content:
        raise Refusal(400, "audio: the file is empty")
    try:
        rate, channels = form(content)
        if channels > most.max_channels or not 0 < rate <= most.max_sample_rate:
            limits = f"{most.max_channels} channels (max_channels) at {most.max_sample_rate} Hz (max_sample_rate)"
            raise Refusal(422, f"audio: {channels} channels at {rate} Hz; at most {limits} are read")
        fitting_s = most.max_decoded_mib * 2**20 / (BYTES * rate * channels)
        return decode(
            content, channel=channel_to_read(content, channel, usual), limit_s=min(most.max_audio_s, fitting_s)
        )
    except AudioError as error:
        raise Refusal(422 if error.readable else 400, str(error)) from error  # "audio: ..."
