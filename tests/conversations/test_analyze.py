"""A call's turns get what their cut gets alone; live and recorded calls agree; steps are resumed; faults are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from lsgmer.audio import Waveform, decode, limits_in
from lsgmer.conversations.analyze import Analyzer, Local, Progress, Request, earlier_turns
from lsgmer.conversations.live import Listener, LiveConversation
from lsgmer.conversations.recording import Recording
from lsgmer.conversations.steps import FolderSteps
from lsgmer.conversations.turns import Names
from lsgmer.core.errors import LsgmerError
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.speech.silero import Silero
from lsgmer.speech.transcript import Transcript
from lsgmer.turns.turn import Turn
from tests.support.builders import build_world, extract, random_model
from tests.support.calls import RATE, make_call, recordings


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A small model without levels of speakers."""
    world = extract(build_world(tmp_path_factory.mktemp("world"), {"train": 3, "valid": 3, "test": 3}))
    random_model(world.workspace.data("train"), world.features("test"), world.params)
    limits = limits_in(world.params.validate_.model_dump())
    return Predictor.load(world.workspace.data("train"), "test:0", "cpu", world.workspace.root, limits)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Turn]]:
    path = tmp_path_factory.mktemp("call") / "call.flac"
    return path, make_call(path, recordings(8), 50.0)


@pytest.fixture(scope="module")
def analyzer(predictor: Predictor) -> Analyzer:
    return Analyzer(Local(predictor), batch=3)


def test_given_turns_are_answered_as_their_cuts(
    analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path
) -> None:
    path, known = call
    texts = [turn.model_copy(update={"text": f"words number {i}"}) for i, turn in enumerate(known)]
    found = analyzer.analyze(path, Request(turns=tuple(texts)), tmp_path)
    for i, (entry, turn) in enumerate(zip(found.timeline, texts, strict=True)):
        wave = decode(path, turn.start_s, turn.end_s, turn.channel)
        item = Input(audio=wave, text=turn.text, previous=earlier_turns(texts, i, analyzer.estimator.predictor.context))
        (alone,) = analyzer.estimator.predictor.predict([item])
        assert entry.emotion == alone.emotion
        assert entry.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert entry.modalities == ("audio", "text")


def test_a_live_call_is_answered_as_its_recording(
    analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path
) -> None:
    recorded = analyzer.analyze(call[0], Request(), tmp_path)
    samples, rate = soundfile.read(call[0], dtype="int16", always_2d=True)
    listener = Listener(Silero.load(), rate, Names(2))
    live = LiveConversation(analyzer.estimator, listener, None, ["angry"])
    heard = []
    for at in range(0, len(samples), 2400):
        heard += live.hear(samples[at : at + 2400].tobytes())
        assert listener._held.nbytes < 30 * rate * 2 * 4, "only what may be needed is kept"
    heard += live.finish()
    assert len(heard) == len(recorded.timeline) == len(call[1])
    for one, other in zip(sorted(heard, key=lambda turn: turn.start_s), recorded.timeline, strict=True):
        assert (one.start_s, one.end_s, one.channel) == (other.start_s, other.end_s, other.channel)
        assert one.emotion == other.emotion
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


class Stop(Exception):
    """Stops an analysis."""


def test_what_was_finished_is_not_done_again(analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path) -> None:
    whole = analyzer.analyze(call[0], Request(), tmp_path)
    steps = FolderSteps(tmp_path)

    def stop(progress: Progress) -> None:
        if progress.stage == "predicting" and progress.turns_done >= 3:
            raise Stop

    with pytest.raises(Stop):
        analyzer.analyze(call[0], Request(), tmp_path, stop, steps)
    done = (tmp_path / "timeline.jsonl").read_bytes()
    assert done.count(b"\n") == 3
    (tmp_path / "timeline.jsonl").write_bytes(done + b'{"index": 3, "sta')  # as kill -9 leaves it
    seen: list[Progress] = []
    assert analyzer.analyze(call[0], Request(), tmp_path, seen.append, steps) == whole
    assert not any(progress.stage == "finding turns" for progress in seen)
    assert min(progress.turns_done for progress in seen if progress.stage == "predicting") == 3


def test_an_mp3_is_cut_as_well(analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path) -> None:
    samples, rate = soundfile.read(call[0], dtype="float32")
    soundfile.write(tmp_path / "call.mp3", samples, rate)
    found = analyzer.analyze(tmp_path / "call.mp3", Request(), tmp_path)
    assert (tmp_path / "call.flac").exists(), "a copy that can be cut"
    assert len(found.timeline) == len(call[1])


def test_channels_that_hold_the_same_are_one(analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path) -> None:
    samples, rate = soundfile.read(call[0], dtype="float32")
    mono = samples.sum(axis=1)
    soundfile.write(tmp_path / "both.wav", np.stack([mono, mono], axis=1), rate)
    found = analyzer.analyze(tmp_path / "both.wav", Request(speakers=("anna", "ben")), tmp_path)
    assert {turn.speaker for turn in found.timeline} == {"anna"}
    assert {turn.channel for turn in found.timeline} == {None}
    assert any("hold the same" in warning for warning in found.warnings)


def test_a_voice_that_leaks_into_the_other_channel_is_no_turn(
    analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path
) -> None:
    samples, rate = soundfile.read(call[0], dtype="float32")
    soundfile.write(tmp_path / "leak.wav", samples + 0.03 * samples[:, ::-1], rate, subtype="FLOAT")
    found = analyzer.analyze(tmp_path / "leak.wav", Request(), tmp_path)
    assert len(found.timeline) == len(call[1])


@pytest.mark.parametrize("seconds", [0.01, 5.0])
def test_silence_has_no_turns(seconds: float, analyzer: Analyzer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros((round(seconds * RATE), 2), np.float32), RATE)
    found = analyzer.analyze(tmp_path / "silence.wav", Request(), tmp_path)
    assert found.timeline == ()
    assert found.summary.shares is None
    assert "nobody speaks in this recording" in found.warnings


def test_a_truncated_call_is_analysed_with_a_warning(
    analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path
) -> None:
    samples, rate = soundfile.read(call[0], dtype="int16")
    soundfile.write(tmp_path / "whole.wav", samples, rate)
    content = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    found = analyzer.analyze(tmp_path / "cut.wav", Request(), tmp_path)
    assert found.timeline
    assert any("truncated" in warning for warning in found.warnings)


def test_nonsense_and_what_is_too_long_are_named(analyzer: Analyzer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "wild.wav", np.full((RATE, 1), 1e6, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(LsgmerError, match="out of range"):
        analyzer.analyze(tmp_path / "wild.wav", Request(), tmp_path)
    soundfile.write(tmp_path / "long.wav", np.zeros((20 * RATE, 1), np.float32), RATE)
    with pytest.raises(LsgmerError, match="longer than"):
        analyzer.analyze(tmp_path / "long.wav", Request(most_s=10.0), tmp_path)
    soundfile.write(tmp_path / "many.wav", np.zeros((100, 9), np.float32), RATE)
    with pytest.raises(LsgmerError, match="9 channels"):
        analyzer.analyze(tmp_path / "many.wav", Request(), tmp_path)
    with pytest.raises(LsgmerError, match="furious"):
        analyzer.analyze(tmp_path / "long.wav", Request(negative=("furious",)), tmp_path)
    with pytest.raises(LsgmerError, match="no transcriber"):
        analyzer.analyze(tmp_path / "long.wav", Request(transcribe=True), tmp_path)


def test_a_turn_without_a_voice_says_so_and_the_others_are_answered(
    analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path
) -> None:
    silent = Turn(start_s=0.0, end_s=0.5, speaker="left", channel=0)
    spoken = silent.model_copy(update={"channel": 1, "text": "I can not believe it"})
    found = analyzer.analyze(call[0], Request(turns=(silent, spoken, *call[1])), tmp_path)
    assert found.timeline[0].emotion is None
    assert "silent" in str(found.timeline[0].error)
    assert found.timeline[1].modalities == ("text",)
    assert "the words alone were read" in found.timeline[1].warnings[0]
    assert all(turn.emotion for turn in found.timeline[2:])


def test_earlier_turns_began_before_and_were_over() -> None:
    def turn(start: float, end: float, text: str, speaker: str = "a") -> Turn:
        return Turn(start_s=start, end_s=end, speaker=speaker, text=text)

    turns = [turn(0, 2, "one"), turn(1, 9, "still speaking", "b"), turn(3, 4, "two", "b"), turn(5, 6, "now")]
    assert [(line.text, line.same_speaker) for line in earlier_turns(turns, 3, 4)] == [("one", True), ("two", False)]
    assert [line.text for line in earlier_turns(turns, 3, 1)] == ["two"]
    assert earlier_turns(turns, 0, 4) == ()
    assert earlier_turns(turns, 3, 0) == ()


def test_a_recording_is_read_in_pieces(call: tuple[Path, list[Turn]], tmp_path: Path) -> None:
    recording = Recording(call[0], tmp_path, 3600.0)
    assert sum(map(len, recording.blocks())) == round(50.0 * RATE)
    wave = recording.cut(call[1][0].start_s, call[1][0].end_s, 0)
    assert isinstance(wave, Waveform)
    assert np.array_equal(wave.samples, decode(recordings(8)[0]).samples)


class Writer:
    """Believes what it hears in every `every`-th turn."""

    def __init__(self, every: int) -> None:
        self.every, self.count = every, 0

    def transcribe(self, wave: Waveform) -> Transcript:
        self.count += 1
        if self.count % self.every:
            return Transcript(text="", reason="not sure", mean_log_probability=-1.0)
        return Transcript(text="some words", mean_log_probability=-0.1)


@pytest.mark.parametrize(("every", "words"), [(1, 8), (2, 4), (5, 0)])
def test_a_few_sure_words_in_a_foreign_call_are_left_out(
    every: int, words: int, analyzer: Analyzer, call: tuple[Path, list[Turn]], tmp_path: Path
) -> None:
    writer = Analyzer(analyzer.estimator, transcriber=Writer(every))  # type: ignore[arg-type]
    found = writer.analyze(call[0], Request(transcribe=True), tmp_path).timeline
    assert sum(bool(turn.text) for turn in found) == sum(turn.automatic for turn in found) == words
    assert all(turn.text or any("transcript:" in warning for warning in turn.warnings) for turn in found)
