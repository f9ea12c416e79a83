"""The speech LSTM gives the original's frames, whatever else is in the batch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.encoders.build import build_audio, load_encoder, pack_encoder
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.speech_lstm import (
    PACKAGED,
    SAMPLE_RATE,
    WEIGHTS_SHA256,
    levelled,
    mean_over,
    mel_power,
    read_weights,
)
from lsgmer.encoders.weights import package_file


def build(**more: object):
    return build_audio(AudioEncoderParams.model_validate({"kind": "speech_lstm", "hop_ms": 40.0, **more}), Path())


LAST = build()


def noise(samples: int, level: float = 0.1, seed: int = 0) -> Waveform:
    values = np.random.default_rng(seed).standard_normal(samples)
    return Waveform((level * values).astype(np.float32), SAMPLE_RATE)


def hz_of(mel: np.ndarray) -> np.ndarray:
    """Slaney's scale: 3 mel per 200 Hz up to 1 kHz, then 27 mel for each factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def test_the_mel_filters_are_slaneys_triangles_of_unit_area() -> None:
    edges = hz_of(np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 42))
    bins = np.linspace(0, 8000, 201)
    for band, (low, centre, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        triangle = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(0)
        assert np.allclose(mel_power().mel_scale.fb[:, band], triangle * 2 / (high - low), atol=1e-6)


def test_mel_power_is_that_of_a_hann_window_without_a_logarithm() -> None:
    samples = noise(2000).samples.astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(samples[5 * 160 - 200 :][:400] * hann)) ** 2
    ours = mel_power()(torch.from_numpy(samples).float())
    assert ours.shape == (40, 1 + 2000 // 160)
    assert np.allclose(ours[:, 5], power @ mel_power().mel_scale.fb.numpy(), rtol=1e-4)


def test_it_computes_what_torchs_three_layer_lstm_computes() -> None:
    state = read_weights(package_file(PACKAGED), WEIGHTS_SHA256)
    lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict({k.removeprefix("lstm."): v for k, v in state.items() if k.startswith("lstm.")})
    wave = noise(8000)
    with torch.no_grad():
        expected, _ = lstm(mel_power()(levelled(torch.from_numpy(wave.samples), None)).T[None])
    frames = build(hop_ms=10.0).encode([wave])[0]
    assert np.allclose(frames, expected[0], atol=1e-5)
    assert np.allclose(LAST.encode([wave])[0][0], expected[0, :4].mean(0), atol=1e-5)


def test_layers_and_prosody_stand_side_by_side() -> None:
    wave, alone = noise(9000), {layer: build(layers=(layer,)) for layer in (1, 2, 3)}
    wide = build(layers=(3, 1), prosody=True, n_mels=20)
    frames = wide.encode([wave])[0]
    assert frames.shape == (15, wide.spec.dimension) == (15, 256 * 2 + 20 + 5)
    assert np.array_equal(frames[:, :256], LAST.encode([wave])[0])
    assert np.array_equal(frames[:, 256:512], alone[1].encode([wave])[0])
    logmel = build_audio(AudioEncoderParams(kind="logmel", n_mels=20, hop_ms=40.0), Path())
    assert np.array_equal(frames[:, 512:], logmel.encode([wave])[0])
    assert not np.array_equal(alone[2].encode([wave])[0], frames[:, :256])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=4), st.sampled_from([10.0, 40.0, 80.0]), st.booleans())
def test_alone_equals_in_a_batch_and_length_follows_the_hop(lengths: list[int], hop_ms: float, prosody: bool) -> None:
    encoder = build(hop_ms=hop_ms, prosody=prosody)
    waves = [noise(n, seed=n) for n in lengths]
    for wave, frames in zip(waves, encoder.encode(waves), strict=True):
        assert frames.dtype == np.float32
        assert frames.shape == (1 + len(wave.samples) // (16 * int(hop_ms)), encoder.spec.dimension)
        assert np.isfinite(frames).all()
        assert np.array_equal(frames, encoder.encode([wave])[0])


def test_together_is_alone_to_a_hundred_thousandth() -> None:
    waves = [noise(samples, seed=i) for i, samples in enumerate((16000, 300, 40000, 8001))]
    encoder = build(prosody=True)
    for alone, together in zip(encoder.encode(waves), encoder.encode_together(waves), strict=True):
        assert together.shape == alone.shape
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_silence_and_a_single_sample_are_finite() -> None:
    for samples in (np.zeros(SAMPLE_RATE), np.zeros(1), np.full(1, 1e-30), np.full(400, 1e-30)):
        for encoder in (LAST, build(level_dbfs=-24.0)):
            assert np.isfinite(encoder.encode([Waveform(samples.astype(np.float32), SAMPLE_RATE)])[0]).all()
    with pytest.raises(LsgmerError, match="empty waveform"):
        LAST.encode([Waveform(np.zeros(0, np.float32), SAMPLE_RATE)])


def test_quiet_speech_is_raised_to_minus_30_dbfs_and_loud_speech_left_alone() -> None:
    quiet, loud = (torch.from_numpy(noise(16000, level).samples) for level in (0.001, 0.3))
    assert float(levelled(quiet, None).square().mean().sqrt()) == pytest.approx(10**-1.5, rel=1e-4)
    assert levelled(loud, None) is loud
    assert np.allclose(LAST.encode([noise(9000, 0.001)])[0], LAST.encode([noise(9000, 0.01)])[0], atol=1e-4)


def test_a_level_is_reached_from_both_sides_so_that_a_gain_changes_nothing() -> None:
    quiet, loud = (torch.from_numpy(noise(16000, level).samples) for level in (0.001, 0.3))
    for samples in (quiet, loud):
        assert float(levelled(samples, -20.0).square().mean().sqrt()) == pytest.approx(0.1, rel=1e-4)
    encoder = build(level_dbfs=-24.0)
    assert np.allclose(encoder.encode([noise(9000, 0.001)])[0], encoder.encode([noise(9000, 0.3)])[0], atol=1e-4)
    assert not np.allclose(LAST.encode([noise(9000, 0.001)])[0], LAST.encode([noise(9000, 0.3)])[0], atol=1e-2)


def test_the_mean_over_steps_keeps_a_smaller_last_group() -> None:
    values = torch.arange(7.0)[:, None]
    assert mean_over(values, 3).squeeze(1).tolist() == [1.0, 4.0, 6.0]
    assert mean_over(values, 10).squeeze(1).tolist() == [3.0]


def test_other_weights_are_refused_before_the_pickle_is_read() -> None:
    with pytest.raises(LsgmerError, match=r"resemblyzer/pretrained\.pt: sha256 is 39373b86\w+0f134e, expected 0000"):
        build(sha256="0" * 64)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"layers": (4,)}, "has layers 1 to 3"),
        ({"hop_ms": 25.0}, "not a multiple of the LSTM's 10 ms"),
        ({"source": "package:resemblyzer/other.pt"}, "no such file"),
        ({"source": "package:not_there/pretrained.pt"}, "'not_there' is not installed"),
        ({"source": "some/folder"}, "expected package:NAME/FILE"),
    ],
)
def test_what_cannot_be_built_says_why(more: dict[str, object], reason: str) -> None:
    with pytest.raises(LsgmerError, match=reason):
        build(**more)


def test_a_card_rebuilds_it_without_packed_files_or_the_packages_code(tmp_path: Path) -> None:
    encoder = build(layers=(2, 3), hop_ms=80.0, prosody=True, n_mels=30, level_dbfs=-24.0)
    spec = type(encoder.spec).model_validate_json(encoder.spec.model_dump_json())
    again = load_encoder(spec, tmp_path / "none")
    assert again.spec == encoder.spec
    assert np.array_equal(again.encode([noise(5000)])[0], encoder.encode([noise(5000)])[0])
    pack_encoder(spec, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    assert not {"resemblyzer", "librosa", "webrtcvad"} & set(sys.modules)


def test_the_fingerprint_follows_the_settings() -> None:
    others = [build(layers=(2,)), build(hop_ms=80.0), build(prosody=True), build(level_dbfs=-24.0)]
    assert len({encoder.spec.fingerprint for encoder in (LAST, *others)}) == 5
