"""Log-mel and prosody frames are what their formulas say, and equal alone or in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.encoders.build import build_audio, load_encoder
from lsgmer.encoders.logmel import PROSODY, SAMPLE_RATE
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.prosody import slope, track_pitch

LOGMEL = build_audio(AudioEncoderParams(kind="logmel"), Path())
PITCH, VOICING, ENERGY, PITCH_SLOPE, ENERGY_SLOPE = range(64, 64 + len(PROSODY))


def tone(hz: float, seconds: float = 1.0, level: float = 0.1, rate: int = SAMPLE_RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (level * sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 6))).astype(np.float32)


def encode(samples: np.ndarray, rate: int = SAMPLE_RATE) -> np.ndarray:
    return LOGMEL.encode([Waveform(samples, rate)])[0]


@pytest.mark.parametrize("hz", [80, 120, 220, 400])
def test_pitch_of_a_tone_is_found_in_every_frame(hz: int) -> None:
    pitch, voicing = track_pitch(torch.from_numpy(tone(hz)), SAMPLE_RATE, 320)
    inside = slice(2, -3)  # the last frames look past the end
    assert torch.allclose(pitch[inside], torch.tensor(float(hz)), rtol=0.005)
    assert (voicing[inside] > 0.95).all()


def test_noise_and_silence_are_unvoiced() -> None:
    noise = torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(1)) * 0.1
    for samples in (noise, torch.zeros(SAMPLE_RATE)):
        pitch, voicing = track_pitch(samples, SAMPLE_RATE, 320)
        assert (pitch > 0).float().mean() < 0.05
        assert voicing.mean() < 0.3


def test_a_glide_has_the_slope_it_was_made_with() -> None:
    octaves_per_second = 1.0
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    phase = 2 * np.pi * 120 * (2 ** (octaves_per_second * time) - 1) / (octaves_per_second * np.log(2))
    frames = encode((0.1 * np.sin(phase) + 0.05 * np.sin(2 * phase)).astype(np.float32))
    assert np.median(frames[5:-5, PITCH_SLOPE]) == pytest.approx(octaves_per_second / 10, rel=0.1)


def test_slope_of_a_line_is_its_rise() -> None:
    line = 3 + 0.5 * torch.arange(20.0)
    assert torch.allclose(slope(line)[2:-2], torch.tensor(0.5), atol=1e-5)


def test_scales_keep_register_and_loudness() -> None:
    low, high, loud = encode(tone(120)), encode(tone(240)), encode(tone(120, level=0.2))
    assert np.median(high[:, PITCH] - low[:, PITCH]) == pytest.approx(1.0, abs=0.01)
    assert np.median(loud[5:-5, ENERGY] - low[5:-5, ENERGY]) == pytest.approx(np.log10(4) / 4, abs=0.01)
    assert np.median(low[:, PITCH]) == pytest.approx(np.log2(120 / 150), abs=0.01)


def test_silence_is_finite_and_at_the_floor() -> None:
    frames = encode(np.zeros(SAMPLE_RATE, np.float32))
    assert np.isfinite(frames).all()
    assert (frames[:, :64] == -1).all()


def test_another_sample_rate_gives_nearly_the_same_frames() -> None:
    ours, theirs = encode(tone(150)), encode(tone(150, rate=48_000), 48_000)
    assert ours.shape == theirs.shape
    assert np.abs(ours[5:-5, PITCH] - theirs[5:-5, PITCH]).max() < 0.01


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=4), st.floats(5, 40))
def test_alone_equals_in_a_batch_and_length_follows_the_hop(lengths: list[int], hop_ms: float) -> None:
    encoder = build_audio(AudioEncoderParams(kind="logmel", n_mels=20, hop_ms=hop_ms), Path())
    random = np.random.default_rng(0)
    waves = [Waveform((0.1 * random.standard_normal(n)).astype(np.float32), SAMPLE_RATE) for n in lengths]
    together = encoder.encode(waves)
    hop = round(hop_ms * 16)
    for wave, frames in zip(waves, together, strict=True):
        assert frames.dtype == np.float32
        assert frames.shape == (1 + len(wave.samples) // hop, 25)
        assert np.array_equal(frames, encoder.encode([wave])[0])


def test_the_fingerprint_follows_the_settings() -> None:
    others = [
        build_audio(AudioEncoderParams(kind="logmel", **{k: v}), Path()) for k, v in (("n_mels", 32), ("hop_ms", 10.0))
    ]
    assert len({LOGMEL.spec.fingerprint, *(other.spec.fingerprint for other in others)}) == 3
    again = load_encoder(others[0].spec)
    assert again.spec == others[0].spec
    assert np.array_equal(
        again.encode([Waveform(tone(99), 16000)])[0], others[0].encode([Waveform(tone(99), 16000)])[0]
    )


def test_an_empty_waveform_is_refused() -> None:
    with pytest.raises(LsgmerError, match="empty waveform"):
        encode(np.zeros(0, np.float32))
