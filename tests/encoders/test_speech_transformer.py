"""A speech transformer's frames do not depend on the batch, and its layers are the model's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.encoders.build import AudioEncoder, build_audio, load_encoder
from lsgmer.encoders.params import AudioEncoderParams, FeaturesParams
from lsgmer.encoders.speech_transformer import _receptive_field
from tests.support.tiny import SPEECH, save_speech

RATE = 16_000


def noise(length: int, seed: int = 0, level: float = 0.1) -> Waveform:
    return Waveform((level * np.random.default_rng(seed).standard_normal(length)).astype(np.float32), RATE)


def build(folder: Path, layer: int | None = None) -> AudioEncoder:
    encoder = build_audio(AudioEncoderParams(kind="transformers", source=str(folder), layer=layer), Path())
    assert encoder is not None
    return encoder


def normalised(samples: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("kind", list(SPEECH))
def test_stopping_at_a_layer_equals_the_full_models_hidden_state(tmp_path: Path, kind: str, stable: bool) -> None:
    folder = save_speech(tmp_path, kind, stable)
    wave = noise(6000)
    with torch.inference_mode():
        full = AutoModel.from_pretrained(folder).eval()(normalised(wave.samples), output_hidden_states=True)
    for layer, expected in enumerate(full.hidden_states):
        encoder = build(folder, layer)
        assert len(encoder._model.encoder.layers) == layer
        assert np.array_equal(encoder.encode([wave])[0], expected[0].numpy())
    assert np.array_equal(build(folder).encode([wave])[0], full.last_hidden_state[0].numpy())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 8000), min_size=2, max_size=4))
def test_alone_equals_in_a_batch_bit_by_bit(hubert: Path, lengths: list[int]) -> None:
    encoder = build(hubert, 2)
    waves = [noise(n, seed) for seed, n in enumerate(lengths)]
    for wave, frames in zip(waves, encoder.encode(waves), strict=True):
        assert np.array_equal(frames, encoder.encode([wave])[0])
        assert frames.shape == (max(1, (len(wave.samples) - 205) // 320 + 1), 16)


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("kind", list(SPEECH))
@pytest.mark.parametrize("layers", [None, (1, 3)])
def test_together_is_alone_to_a_hundred_thousandth(
    tmp_path: Path, kind: str, stable: bool, layers: tuple[int, ...] | None
) -> None:
    params = AudioEncoderParams(kind="transformers", source=str(save_speech(tmp_path, kind, stable)), layers=layers)
    encoder = build_audio(params, Path())
    for lengths in ([6000, 200, 9100, 1, 6000], [5000, 5000], [321]):
        waves = [noise(n, seed) for seed, n in enumerate(lengths)]
        for one, other in zip(encoder.encode(waves), encoder.encode_together(waves), strict=True):
            np.testing.assert_allclose(other, one, atol=1e-5)


def test_an_architecture_that_may_not_mask_is_read_one_at_a_time(hubert: Path, monkeypatch) -> None:
    monkeypatch.setattr("lsgmer.encoders.speech_transformer.MASKED", ())
    encoder, waves = build(hubert), [noise(6000), noise(2000, 1)]
    assert not encoder.padded
    for one, other in zip(encoder.encode(waves), encoder.encode_together(waves), strict=True):
        assert np.array_equal(one, other)


def test_normalisation_is_the_extractors_choice(tmp_path: Path) -> None:
    normalising, plain = save_speech(tmp_path / "a"), save_speech(tmp_path / "b", do_normalize=False)
    quiet, loud = noise(4000, level=0.05), noise(4000, level=0.5)
    same, other = build(normalising).encode([quiet, loud]), build(plain).encode([quiet, loud])
    assert np.allclose(same[0], same[1], atol=1e-3)
    assert not np.array_equal(other[0], same[0])
    assert build(normalising).spec.settings["do_normalize"] is True
    assert build(plain).spec.fingerprint != build(normalising).spec.fingerprint


def test_the_spec_tells_what_made_the_frames(hubert: Path) -> None:
    spec = build(hubert, 1).spec
    assert (spec.modality, spec.kind, spec.layer, spec.dimension, spec.sample_rate) == (
        "audio",
        "transformers",
        1,
        16,
        RATE,
    )
    assert set(spec.settings["files"]) == {"config.json", "preprocessor_config.json"}
    assert {"torch", "transformers"} <= set(spec.versions)
    assert spec.fingerprint != build(hubert, 2).spec.fingerprint


@pytest.mark.parametrize("layer", [-1, 4])
def test_a_layer_that_does_not_exist_is_named(hubert: Path, layer: int) -> None:
    with pytest.raises(LsgmerError, match=f"layer {layer} does not exist; this encoder has 0 to 3"):
        build(hubert, layer)


def test_a_folder_without_an_extractor_or_for_text_is_refused(hubert: Path, roberta: Path, tmp_path: Path) -> None:
    bare = save_speech(tmp_path)
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(LsgmerError, match="preprocessor_config"):
        build(bare)
    with pytest.raises(LsgmerError):
        build(roberta)


def test_missing_weights_are_an_error_not_random_numbers(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_speech(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LsgmerError, match="1 weights are missing"):
        build(folder)


def test_receptive_field_of_the_real_models_is_25_ms() -> None:
    assert _receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)) == 400


@pytest.mark.parametrize("stable", [False, True])
def test_several_layers_stand_side_by_side(tmp_path: Path, stable: bool) -> None:
    folder = save_speech(tmp_path / "hubert", "hubert", stable)
    wave = noise(6000)
    params = AudioEncoderParams(kind="transformers", source=str(folder), layers=(1, 2))
    encoder = build_audio(params, Path())
    parts = [build(folder, layer).encode([wave])[0] for layer in (1, 2)]
    assert np.allclose(encoder.encode([wave])[0], np.concatenate(parts, axis=1), atol=1e-6)
    assert encoder.spec.dimension == 2 * parts[0].shape[1]
    assert load_encoder(encoder.spec).spec == encoder.spec


@pytest.mark.parametrize("given", [{"kind": "logmel"}, {"kind": "transformers", "layers": (3,)}])
def test_what_cannot_be_mixed_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="mix weighs several layers of a transformer"):
        AudioEncoderParams(mix=True, **given)


def test_mix_in_a_list_is_refused_rather_than_left_out() -> None:
    one = {"kind": "transformers", "source": "x/y", "layers": [1, 2], "mix": True}
    given = {"audio": [one, {"kind": "logmel"}], "text": {"kind": "none"}, "batch_size": 1}
    with pytest.raises(ValueError, match="mix cannot be used in a list"):
        FeaturesParams.model_validate_json(json.dumps(given))
