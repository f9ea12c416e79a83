"""Two-channel calls made of real recordings: where each of them lies is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from lsgmer.audio import decode
from lsgmer.turns.turn import Turn

NEMO = Path(__file__).parents[3] / "shared/data/nemo"
RATE = 24_000


def recordings(count: int) -> list[Path]:
    """Return `count` recordings of nEMO, spread over speakers and emotions; skip the test where there are none."""
    found = sorted(NEMO.rglob("*.flac"))
    if not found:
        pytest.skip("needs ../shared/data/nemo")
    return found[:: len(found) // count][:count]


def make_call(
    path: Path, sources: Sequence[Path], seconds: float, seed: int = 3, names: tuple[str, str] = ("left", "right")
) -> list[Turn]:
    """Write a call of `seconds` with the `sources` in turn on both channels, and return where each of them is."""
    rng = np.random.default_rng(seed)
    waves = [decode(source) for source in sources]
    assert {wave.sample_rate for wave in waves} == {RATE}
    spare = seconds - sum(wave.duration_s for wave in waves)
    pauses = rng.uniform(0.7, 1.3, len(waves)) * spare / (len(waves) + 1)
    call: np.ndarray[Any, Any] = np.zeros((round(seconds * RATE), 2), np.float32)
    turns, at = [], 0
    for i, (wave, pause) in enumerate(zip(waves, pauses, strict=True)):
        at += round(pause * RATE)
        call[at : at + len(wave.samples), i % 2] = wave.samples
        start, end = at / RATE, (at + len(wave.samples)) / RATE
        turns.append(Turn(start_s=start, end_s=end, speaker=names[i % 2], channel=i % 2))
        at += len(wave.samples)
    soundfile.write(path, call, RATE, subtype="PCM_16")
    return turns
