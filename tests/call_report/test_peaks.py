"""Peaks are the lowest and highest samples of equal stretches, whatever the blocks in which a recording is read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lsgmer import audio
from lsgmer.call_report.peaks import read_peaks
from lsgmer.call_report.sound import as_mp3

RATE = 8000


@pytest.mark.parametrize("block", [7, 1000, 1 << 18])
@pytest.mark.parametrize("frames", [1, 399, 400, 401, 9001])
def test_peaks_are_those_of_the_whole(tmp_path: Path, monkeypatch, block: int, frames: int) -> None:
    samples = np.random.default_rng(2).uniform(-0.9, 0.9, (frames, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, "FLOAT")
    monkeypatch.setattr(audio, "BLOCK_FRAMES", block)
    found = read_peaks(tmp_path / "a.wav", frames / RATE, most=400)
    count = min(400, frames)
    edges = [-(-i * frames // count) for i in range(count + 1)]
    for i in range(count):
        part = samples[edges[i] : edges[i + 1]]
        assert np.array_equal(found.low[:, i], np.minimum(0, part.min(axis=0)))
        assert np.array_equal(found.high[:, i], np.maximum(0, part.max(axis=0)))
    assert found.duration_s == frames / RATE


def test_a_longer_and_a_shorter_recording_than_was_said_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((RATE, 1), 0.5), RATE, "FLOAT")
    assert read_peaks(tmp_path / "a.wav", 0.5, most=10).high.min() == 0.5
    found = read_peaks(tmp_path / "a.wav", 2.0, most=10)
    assert found.high[0].tolist() == [0.5] * 5 + [0.0] * 5


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    minutes = 20
    with soundfile.SoundFile(tmp_path / "long.flac", "w", RATE, 2) as file:
        for _ in range(minutes):
            file.write(np.random.default_rng(1).uniform(-0.1, 0.1, (60 * RATE, 2)))
    whole = minutes * 60 * RATE * 2 * 4
    tracemalloc.start()
    read_peaks(tmp_path / "long.flac", 60.0 * minutes)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < whole / 5


def test_the_mp3_in_a_page_lasts_as_long_and_has_a_constant_rate(tmp_path: Path) -> None:
    times = np.arange(20 * RATE) / RATE
    loud_late = np.sin(2 * np.pi * 440 * times) * (times > 10)
    soundfile.write(tmp_path / "a.wav", np.stack([loud_late] * 3, axis=1), RATE, "FLOAT")
    content = as_mp3(tmp_path / "a.wav")
    wave = audio.decode(content)
    assert wave.duration_s == pytest.approx(20, abs=0.2)
    assert np.argmax(np.abs(wave.samples) > 0.3) / RATE == pytest.approx(10, abs=0.1), "silence takes as many bytes"
    assert b"Xing" not in content[:200]
