"""Turns are where somebody speaks, however the audio is cut into pieces, and never in noise."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import Waveform, decode, resample
from lsgmer.speech.resampling import StreamResampler
from lsgmer.speech.silero import Silero
from lsgmer.speech.voice_activity import Span, TurnFinder, TurnRules, find_spans

Array = np.ndarray[Any, Any]
NEMO = Path(__file__).parents[3] / "shared/data/nemo"
RATE = 24_000
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def model() -> Silero:
    return Silero.load()


@pytest.fixture(scope="module")
def call() -> tuple[Array, list[Span]]:
    """Six real recordings with pauses of half a second to two seconds, and where they are."""
    if not NEMO.is_dir():
        pytest.skip("needs ../shared/data/nemo")
    pieces, known, at = [], [], 0.0
    for i, path in enumerate(sorted(NEMO.rglob("*.flac"))[::90][:6]):
        wave = decode(path)
        assert wave.sample_rate == RATE
        pause = np.zeros(round((0.5 + 0.3 * i) * RATE), np.float32)
        start = at + len(pause) / RATE
        pieces += [pause, wave.samples]
        known.append(Span(start, start + wave.duration_s))
        at = known[-1].end_s
    return np.concatenate([*pieces, np.zeros(RATE, np.float32)]), known


def split(samples: Array, sizes: list[int]) -> list[Array]:
    pieces, at, turn = [], 0, 0
    while at < len(samples):
        pieces.append(samples[at : at + sizes[turn % len(sizes)]])
        at += len(pieces[-1])
        turn += 1
    return pieces


def test_each_recording_is_a_turn_at_its_time(model: Silero, call: tuple[Array, list[Span]]) -> None:
    found = find_spans([call[0]], RATE, model)
    assert len(found) == len(call[1])
    for one, known in zip(found, call[1], strict=True):
        assert abs(one.start_s - known.start_s) < 0.3
        assert abs(one.end_s - known.end_s) < 0.3


@given(sizes=st.lists(st.integers(300, 20_000), min_size=1, max_size=8))
@settings(max_examples=8, deadline=None)
def test_the_pieces_do_not_matter(sizes: list[int], model: Silero, call: tuple[Array, list[Span]]) -> None:
    samples = call[0][: 12 * RATE]
    assert find_spans(split(samples, sizes), RATE, model) == find_spans([samples], RATE, model)


def test_a_turn_is_reported_soon_after_its_end(model: Silero, call: tuple[Array, list[Span]]) -> None:
    finder, step = TurnFinder(model, RATE), RATE // 50
    for at in range(0, len(call[0]), step):
        for span in finder.feed(call[0][at : at + step]):
            assert (at + step) / RATE - span.end_s < 0.45


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "chords"])
def test_what_is_no_voice_is_no_turn(kind: str, model: Silero) -> None:
    seconds = np.arange(10 * RATE) / RATE
    sounds = {
        "silence": 0 * seconds,
        "noise": 0.1 * RNG.standard_normal(len(seconds)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * seconds),
        "chords": sum(0.1 * np.sin(2 * np.pi * f * seconds) for f in (262, 330, 392)) * (np.sin(4 * seconds) > 0),
    }
    assert find_spans([np.asarray(sounds[kind], np.float32)], RATE, model) == []


def test_long_speech_is_cut_without_losing_any(model: Silero, call: tuple[Array, list[Span]]) -> None:
    start, end = (round(edge * RATE) for edge in (call[1][0].start_s + 0.2, call[1][0].end_s - 0.2))
    speech = np.tile(call[0][start:end], 12)
    found = find_spans([speech], RATE, model, TurnRules(longest_s=4.0, cut_within_s=2.0))
    assert len(found) > 3
    assert all(span.end_s - span.start_s <= 4.2 for span in found)
    gaps = [after.start_s - before.end_s for before, after in pairwise(found)]
    assert max(gaps) < 0.5
    assert min(gaps) >= 0


@given(
    rates=st.sampled_from([(8000, 16000), (44_100, 16000), (48_000, 16000), (11_025, 16_000), (16_000, 16_000)]),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
    length=st.integers(1, 9000),
)
@settings(max_examples=30, deadline=None)
def test_a_stream_is_resampled_as_the_whole(rates: tuple[int, int], sizes: list[int], length: int) -> None:
    samples = RNG.uniform(-0.5, 0.5, length).astype(np.float32)
    stream = StreamResampler(*rates)
    found = np.concatenate([*map(stream.feed, split(samples, sizes)), stream.finish()])
    expected = resample(Waveform(samples, rates[0]), rates[1]).samples
    assert len(found) == len(expected)
    assert np.allclose(found, expected, atol=1e-6)
