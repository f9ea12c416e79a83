"""Analyse a recorded conversation: find its turns, fill in their words, estimate each turn's emotion, summarise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from lsgmer.audio import AudioError
from lsgmer.conversations.recording import Recording, demand_form
from lsgmer.conversations.records import Analysis, TimelineTurn
from lsgmer.conversations.steps import NoSteps, Steps
from lsgmer.conversations.summary import negative_labels, speaker_summaries, summarise
from lsgmer.conversations.turns import Found, Names, find_turns, place_turns
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Seconds
from lsgmer.encoders.context import Earlier
from lsgmer.inference.prediction import AutomaticTranscript, Prediction
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.speech.rejection import all_doubtful
from lsgmer.speech.silero import Silero
from lsgmer.speech.transcribe import Transcriber
from lsgmer.speech.transcript import Transcript
from lsgmer.turns.turn import Turn

MOST_S = 4 * 3600.0
FOREIGN = "transcript: left out, as the recogniser was sure of so few turns that this may not be its language"
BATCH = 8  # turns that are predicted together


class Estimator(Protocol):
    """What estimates turns with a model: a Predictor itself, or a service that has other work besides."""

    @property
    def predictor(self) -> Predictor:
        """The model."""
        ...

    def enrol(self, items: Sequence[Input], levels: SpeakerLevels) -> None:
        """Add the audio of `items` to their speakers' levels."""
        ...

    def predict(self, turns: Mapping[int, Turn], items: Sequence[Input], levels: SpeakerLevels) -> list[Prediction]:
        """Return a prediction for each of `turns`, which are named by their places in the timeline."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """Estimates with a predictor in this thread."""

    predictor: Predictor

    def enrol(self, items: Sequence[Input], levels: SpeakerLevels) -> None:
        """Add the audio of `items` to their speakers' levels."""
        self.predictor.enrol(items, levels)

    def predict(self, turns: Mapping[int, Turn], items: Sequence[Input], levels: SpeakerLevels) -> list[Prediction]:
        """Return a prediction for each turn."""
        return self.predictor.predict(items, levels=levels, learn=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an analysis is: in which stage, and how many turns of it are done."""

    stage: str
    share: float
    turns_done: int = 0
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked about a call. `speakers` are names by channel; `negative` labels, None for those known to be."""

    turns: tuple[Turn, ...] | None = None
    speakers: tuple[str, ...] = ()
    negative: tuple[str, ...] | None = None
    transcribe: bool = False
    most_s: Seconds = MOST_S
    most_channels: int = 8
    most_rate: int = 192_000


def silent(progress: Progress) -> None:
    """Report to nobody."""


@dataclass(slots=True)
class Analyzer:
    """Analyses calls with one model. `voices` finds turns; `transcriber` writes their words, None where none can."""

    estimator: Estimator
    voices: Silero = field(default_factory=Silero.load)
    transcriber: Transcriber | None = None
    batch: int = BATCH

    def analyze(
        self,
        call: Path,
        request: Request,
        scratch: Path,
        progress: Callable[[Progress], None] = silent,
        steps: Steps | None = None,
    ) -> Analysis:
        """Return the analysis of the recording `call`.

        Args:
            call: a file that libsndfile reads, of any length up to `request.most_s`. It is never read as a whole.
            request: what is asked.
            scratch: a folder for a copy of a recording that cannot be cut where it is.
            progress: is called often; what it raises stops the analysis.
            steps: what was finished before, to be resumed, and where to keep what gets finished.

        Raises:
            LsgmerError: the recording cannot be read, turns are outside of it, or words are asked for that nothing
                can write.

        """
        predictor, steps = self.estimator.predictor, steps or NoSteps()
        negative = negative_labels(predictor.card.labels.names, request.negative)
        if request.transcribe and self.transcriber is None:
            raise LsgmerError("transcribe: no transcriber is there; give the words with the turns, or leave it out")
        progress(Progress("reading", 0.0))
        demand_form(call, request.most_channels, request.most_rate)
        recording = Recording(call, scratch, request.most_s)
        found = self._turns(recording, request, progress, steps)
        turns, remarks = self._with_words(recording, found, request, progress, steps)
        timeline = self._timeline(recording, turns, remarks, progress, steps)
        return Analysis(
            duration_s=found.duration_s,
            sample_rate=recording.sample_rate,
            channels=recording.channels,
            turns_from="voice activity" if request.turns is None else "given",
            model_version=predictor.version,
            speakers=speaker_summaries(timeline, found.speakers),
            timeline=tuple(timeline),
            summary=summarise(timeline, found.duration_s, negative),
            warnings=(*found.warnings, *_remarks(turns, negative, predictor)),
        )

    def _turns(
        self, recording: Recording, request: Request, progress: Callable[[Progress], None], steps: Steps
    ) -> Found:
        if (known := steps.read("turns")) is not None:
            return Found.model_validate(known)
        names = Names(recording.channels, request.speakers)
        if request.turns is not None:
            found = place_turns(request.turns, recording, names)
        else:
            found = find_turns(
                recording, names, self.voices, lambda share: progress(Progress("finding turns", 0.3 * share))
            )
        steps.write("turns", found.model_dump(mode="json"))
        return found

    def _with_words(
        self,
        recording: Recording,
        found: Found,
        request: Request,
        progress: Callable[[Progress], None],
        steps: Steps,
    ) -> tuple[list[Turn], dict[int, str]]:
        """Return the turns, with words where some could be written, and for others the reason why not, by index."""
        turns, remarks = list(found.turns), dict[int, str]()
        if not request.transcribe or self.transcriber is None:
            return turns, remarks
        lacking = [i for i, turn in enumerate(turns) if not (turn.text or "").strip()]
        known = {line["index"]: Transcript.model_validate(line["transcript"]) for line in steps.lines("words")}
        written: dict[int, Transcript] = {}
        for done, i in enumerate(lacking):
            progress(Progress("transcribing", 0.3 + 0.3 * done / len(lacking), done, len(lacking)))
            if i not in known:
                known[i] = transcribed(self.transcriber, recording, turns[i])
                steps.append("words", [{"index": i, "transcript": known[i].model_dump(mode="json")}])
            written[i] = known[i]
        heard = [transcript for transcript in written.values() if transcript.mean_log_probability is not None]
        doubtful = all_doubtful(sum(bool(transcript.text) for transcript in heard), len(heard))
        for i, transcript in written.items():
            if transcript.text and doubtful:
                remarks[i] = FOREIGN
                continue
            if transcript.text:
                turns[i] = turns[i].model_copy(update={"text": transcript.text, "automatic": True})
            if transcript.reason:
                remarks[i] = f"transcript: {transcript.reason}"
        return turns, remarks

    def _timeline(
        self,
        recording: Recording,
        turns: Sequence[Turn],
        remarks: dict[int, str],
        progress: Callable[[Progress], None],
        steps: Steps,
    ) -> list[TimelineTurn]:
        timeline = [TimelineTurn.model_validate(line) for line in steps.lines("timeline")][: len(turns)]
        levels = SpeakerLevels.offline()
        if self.estimator.predictor.normalises and len(timeline) < len(turns):
            self._enrol(recording, turns, levels, progress)
        while len(timeline) < len(turns):
            done = len(timeline)
            progress(Progress("predicting", 0.6 + 0.4 * done / len(turns), done, len(turns)))
            chosen = range(done, min(done + self.batch, len(turns)))
            inputs = {i: _input(recording, turns, i, self.estimator.predictor) for i in chosen}
            new = estimate(self.estimator, {i: turns[i] for i in chosen}, inputs, remarks, levels)
            steps.append("timeline", [turn.model_dump(mode="json") for turn in new])
            timeline += new
        progress(Progress("done", 1.0, len(turns), len(turns)))
        return timeline

    def _enrol(
        self,
        recording: Recording,
        turns: Sequence[Turn],
        levels: SpeakerLevels,
        progress: Callable[[Progress], None],
    ) -> None:
        """Learn each speaker's level from all of the speaker's turns."""
        for start in range(0, len(turns), self.batch):
            progress(Progress("levels", 0.6, start, len(turns)))
            inputs = [
                _input(recording, turns, i, self.estimator.predictor)
                for i in range(start, min(start + self.batch, len(turns)))
            ]
            self.estimator.enrol([item for item, _ in inputs if item.audio is not None], levels)


def transcribed(transcriber: Transcriber, recording: Recording, turn: Turn) -> Transcript:
    """Return the words of a turn."""
    try:
        return transcriber.transcribe(recording.cut(turn.start_s, turn.end_s, turn.channel))
    except AudioError as error:
        return Transcript(text="", reason=error.reason)


def earlier_turns(turns: Sequence[Turn], i: int, count: int) -> tuple[Earlier, ...]:
    """Return the words of up to `count` turns before turn `i`: those that began before it and were over when it was.

    The same turns are known in a live conversation as in its recording.
    """
    now = turns[i]
    past = [
        turn
        for turn in turns[max(0, i - 8 * count - 8) : i]
        if turn.start_s <= now.start_s and turn.end_s <= now.end_s and (turn.text or "").strip()
    ]
    return tuple(Earlier(str(turn.text), turn.speaker == now.speaker) for turn in past[max(0, len(past) - count) :])


def estimate(
    estimator: Estimator,
    turns: Mapping[int, Turn],
    inputs: dict[int, tuple[Input, tuple[str, ...]]],
    remarks: dict[int, str],
    levels: SpeakerLevels,
) -> list[TimelineTurn]:
    """Return the timeline's entry for each turn in `inputs`, which has their inputs and warnings by index."""
    errors: dict[int, str] = {}
    ready: dict[int, Input] = {}
    for i, (item, _) in inputs.items():
        try:
            estimator.predictor.used(item)
            ready[i] = item
        except LsgmerError as error:
            errors[i] = str(error)
    places = {i: turns[i] for i in ready}
    found = dict(zip(ready, estimator.predict(places, list(ready.values()), levels) if ready else [], strict=True))
    entries = []
    for i, (_, warnings) in inputs.items():
        notes = [*warnings, *([remarks[i]] if i in remarks else [])]
        fields = {} if i not in found else _fields(found[i])
        notes += found[i].warnings if i in found else ()
        entries.append(
            TimelineTurn(
                index=i,
                **turns[i].model_dump(),
                error=errors.get(i),
                warnings=tuple(notes),
                **fields,
            )
        )
    return entries


def _fields(prediction: Prediction) -> dict[str, Any]:
    names = set(TimelineTurn.model_fields) & set(type(prediction).model_fields) - {"warnings"}
    return {name: getattr(prediction, name) for name in names}


def spoken(turn: Turn, earlier: tuple[Earlier, ...]) -> Input:
    """Return the words of a turn as an input, which says whether a machine wrote them, with those said `earlier`."""
    if turn.automatic:
        transcript = AutomaticTranscript(text=turn.text or "", reason=None)
        return Input(transcript=transcript, previous=earlier, speaker=turn.speaker)
    return Input(text=turn.text, previous=earlier, speaker=turn.speaker)


def usable(item: Input, predictor: Predictor) -> tuple[Input, tuple[str, ...]]:
    """Return `item`, without its audio where that is not usable and the words are, and a warning about that."""
    if item.audio is None or item.words is None or "text" not in predictor.modalities:
        return item, ()
    try:
        predictor.used(item)
    except LsgmerError as error:
        return replace(item, audio=None), (f"{error}; the words alone were read",)
    return item, ()


def _input(recording: Recording, turns: Sequence[Turn], i: int, predictor: Predictor) -> tuple[Input, tuple[str, ...]]:
    turn = turns[i]
    item = spoken(turn, earlier_turns(turns, i, predictor.context))
    if "audio" not in predictor.modalities:
        return item, ()
    try:
        return usable(replace(item, audio=recording.cut(turn.start_s, turn.end_s, turn.channel)), predictor)
    except AudioError as error:
        return item, (f"audio: {error.reason}",)


def _remarks(turns: Sequence[Turn], negative: Sequence[str], predictor: Predictor) -> list[str]:
    """Return warnings about the whole conversation."""
    found = []
    if not turns:
        found.append("nobody speaks in this recording")
    if "text" in predictor.modalities and turns and not any((turn.text or "").strip() for turn in turns):
        found.append("no words were given, and the model was trained with words: give turns with text, or transcribe")
    if not negative:
        names = ", ".join(predictor.card.labels.names)
        found.append(f"none of the emotions {names} is known to be negative; name those that are (negative)")
    return found
