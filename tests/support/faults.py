"""Recordings from which no emotion follows, with the reason that every way in must name."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile

RATE = 16_000
Samples = np.ndarray[Any, Any]


def _wav(samples: Samples, rate: int = RATE, subtype: str = "FLOAT") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def _tone(seconds: float = 1.0, rate: int = RATE) -> Samples:
    return (0.25 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


FAULTS = {
    "zeros": (_wav(np.zeros(3 * RATE)), "silent: 100% of it is over validate.max_silence_share (0.9)"),
    "denormals": (_wav(np.full(RATE, 1e-40) * np.tile([1, -1], RATE // 2)), "silent: 100%"),
    "an offset and nothing else": (_wav(0.3 + 1e-5 * _tone()), "silent: 100%"),
    "10 ms": (_wav(_tone(0.01)), "too short: 0.01 s is under validate.min_duration_s (0.3 s)"),
    "one sample": (_wav(_tone(1)[1:2]), "too short: 0.00 s"),
    "4 Hz": (_wav(np.tile([0.2, -0.2], 20), 4), "sample rate 4 Hz is under validate.min_sample_rate (8000 Hz)"),
    "constant": (_wav(np.full(RATE, 0.5)), "constant: every sample is 0.5"),
    "int16 values as floats": (_wav(32767 * 4 * _tone()), "out of range: samples reach 32767"),
    "1e30": (_wav(1e30 * _tone()), "out of range: samples reach 2.5e+29"),
    "infinite": (_wav(np.append(_tone(), np.inf)), "not finite: some samples are NaN or infinite"),
    "inverted stereo": (_wav(np.stack([_tone(), -_tone()], axis=1)), "channels cancel out"),
}
