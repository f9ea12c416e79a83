"""Moonshine's layers are the shipped encoder's own, the same alone or in a batch, and an absent extra is named."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.encoders import moonshine
from lsgmer.encoders.build import build_audio, load_encoder, pack_encoder
from lsgmer.encoders.moonshine import NEEDS, PACKAGED, SAMPLE_RATE, WEIGHTS_SHA256, Moonshine
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.weights import package_file
from lsgmer.params import load_params

installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDS), reason="the extra `moonshine` is not installed: no wheel here"
)
ROOT = Path(__file__).parents[2]
LSTM = AudioEncoderParams(kind="speech_lstm", layers=(2,), hop_ms=80.0)


def params(**more: object) -> AudioEncoderParams:
    return AudioEncoderParams.model_validate({"kind": "moonshine", **more})


def noise(samples: int, seed: int = 0, rate: int = SAMPLE_RATE) -> Waveform:
    return Waveform((0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32), rate)


@pytest.fixture(scope="module")
def third() -> Moonshine:
    encoder = build_audio(params(), Path())
    assert isinstance(encoder, Moonshine)
    return encoder


def as_shipped(wave: Waveform) -> np.ndarray:
    """The last output of the file in the package, read by onnxruntime alone with its default settings."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(package_file(PACKAGED)), providers=["CPUExecutionProvider"])
    mask = np.ones((1, len(wave.samples)), dtype=np.int64)
    return session.run(None, {"input_values": wave.samples[None], "attention_mask": mask})[0][0]


@installed
def test_the_last_layer_is_the_shipped_encoders_output() -> None:
    wave = noise(20_000)
    last = build_audio(params(layer=6), Path())
    assert np.allclose(last.encode([wave])[0], as_shipped(wave), atol=1e-5)


@installed
def test_each_layer_is_another_one_and_the_third_is_the_default(third: Moonshine) -> None:
    wave = noise(20_000)
    layers = [build_audio(params(layer=layer), Path()) for layer in range(1, 7)]
    found = [encoder.encode([wave])[0] for encoder in layers]
    assert all(frames.shape == (50, 288) for frames in found)
    assert len({frames.tobytes() for frames in found}) == 6
    assert np.array_equal(found[2], third.encode([wave])[0])
    assert third.spec == layers[2].spec
    assert len({encoder.spec.fingerprint for encoder in layers}) == 6
    # Residual blocks add to their input, so neighbours resemble each other most: the taps are in order.
    distance = [np.linalg.norm(found[0] - frames) for frames in found[:5]]
    assert distance == sorted(distance)


@installed
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 30_000), min_size=2, max_size=4))
def test_alone_equals_in_a_batch_and_length_follows_the_hop(third: Moonshine, lengths: list[int]) -> None:
    waves = [noise(n, seed) for seed, n in enumerate(lengths)]
    for wave, frames in zip(waves, third.encode(waves), strict=True):
        assert frames.dtype == np.float32
        assert frames.shape == (1 + (max(896, len(wave.samples)) - 895) // 384, 288)
        assert np.isfinite(frames).all()
        assert np.array_equal(frames, third.encode([wave])[0])


@installed
def test_a_short_clip_is_padded_with_silence_and_an_empty_one_refused(third: Moonshine) -> None:
    short = noise(500)
    padded = Waveform(np.pad(short.samples, (0, 396)), SAMPLE_RATE)
    assert np.array_equal(third.encode([short])[0], third.encode([padded])[0])
    assert np.isfinite(third.encode([Waveform(np.zeros(1, np.float32), SAMPLE_RATE)])[0]).all()
    assert len(third.encode([noise(24_000, rate=48_000)])[0]) == len(third.encode([noise(8_000)])[0])
    with pytest.raises(LsgmerError, match="empty waveform"):
        third.encode([noise(0)])


@installed
def test_a_card_rebuilds_it_alone_and_beside_another(third: Moonshine, tmp_path: Path) -> None:
    wave = noise(9000)
    for encoder in (third, build_audio((LSTM, params(layer=2)), Path())):
        spec = EncoderSpec.model_validate_json(encoder.spec.model_dump_json())
        pack_encoder(spec, tmp_path / "packed")
        again = load_encoder(spec, tmp_path / "packed")
        assert again.spec == encoder.spec
        assert np.array_equal(again.encode([wave])[0], encoder.encode([wave])[0])
    assert not (tmp_path / "packed").exists()
    assert again.spec.parts[1].versions["onnxruntime"]
    assert (again.hop_ms, again.spec.dimension) == (80.0, 256 + 288)
    assert "moonshine_voice" not in sys.modules, "its code is not needed, and wants what the lock leaves out"


@installed
def test_another_file_is_refused() -> None:
    with pytest.raises(LsgmerError, match=rf"encoder_model\.ort: sha256 is {WEIGHTS_SHA256}, expected 0000"):
        build_audio(params(sha256="0" * 64), Path())


@pytest.mark.parametrize("layer", [0, 7, -1])
def test_a_layer_that_does_not_exist_is_named(layer: int) -> None:
    with pytest.raises(LsgmerError, match=rf"features\.audio\.layer: {layer}: .* has layers 1 to 6"):
        build_audio(params(layer=layer), Path())


@pytest.mark.parametrize("missing", NEEDS)
def test_without_the_extra_the_message_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moonshine, "find_spec", lambda name: None if name == missing else object())
    for given_params in (params(), (LSTM, params())):
        with pytest.raises(LsgmerError, match=rf"needs {missing}: pip install 'lsgmer\[moonshine\]'"):
            build_audio(given_params, Path())


def test_the_defaults_do_not_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDS:
        monkeypatch.setitem(sys.modules, name, None)  # so that importing it fails
    encoder = build_audio(load_params(ROOT / "params.yaml").features.audio, ROOT)
    assert load_encoder(encoder.spec).encode([noise(5000)])[0].shape == (4, encoder.spec.dimension)
