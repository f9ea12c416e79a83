"""Encoders side by side keep each part's frames, on one clock, and a card rebuilds all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.encoders.build import AudioEncoder, build_audio, load_encoder, pack_encoder
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.side_by_side import align

RATE = 16_000
LSTM = {"kind": "speech_lstm", "layers": (2,), "hop_ms": 80.0}
FAST = {"kind": "logmel", "n_mels": 20, "hop_ms": 10.0}
SLOW = {"kind": "logmel", "n_mels": 20, "hop_ms": 100.0}
hops = st.sampled_from([10.0, 20.0, 24.0, 40.0, 80.0, 100.0, 12.345])


def build(*parts: dict[str, object], root: Path = Path()) -> AudioEncoder:
    encoder = build_audio(tuple(AudioEncoderParams.model_validate(part) for part in parts), root)
    assert encoder is not None
    return encoder


def noise(length: int, seed: int = 0) -> Waveform:
    return Waveform((0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32), RATE)


def hubert_of(folder: Path, **more: object) -> dict[str, object]:
    return {"kind": "transformers", "source": str(folder), "layer": 2, **more}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 9000), min_size=2, max_size=4))
def test_alone_equals_in_a_batch_and_every_part_is_there(hubert: Path, lengths: list[int]) -> None:
    parts = [LSTM, FAST, SLOW, hubert_of(hubert)]
    encoder, alone = build(*parts), [build_audio(AudioEncoderParams.model_validate(part), Path()) for part in parts]
    waves = [noise(n, seed) for seed, n in enumerate(lengths)]
    sizes = [part.spec.dimension for part in alone]
    assert encoder.spec.dimension == sum(sizes)
    for wave, frames in zip(waves, encoder.encode(waves), strict=True):
        assert frames.dtype == np.float32
        assert np.array_equal(frames, encoder.encode([wave])[0])
        own = [part.encode([wave])[0] for part in alone]
        assert frames.shape == (len(own[0]), sum(sizes))
        for part, values, found in zip(alone, own, np.split(frames, np.cumsum(sizes)[:-1], axis=1), strict=True):
            assert np.array_equal(found, align(values, part.hop_ms, len(own[0]), encoder.hop_ms))


def test_the_first_encoder_sets_the_clock(hubert: Path) -> None:
    wave = noise(RATE)
    for first, hop_ms in ((LSTM, 80.0), (FAST, 10.0), (SLOW, 100.0), (hubert_of(hubert), 20.0)):
        encoder = build(first, FAST, SLOW)
        assert encoder.hop_ms == hop_ms
        assert len(encoder.encode([wave])[0]) == len(build(first).encode([wave])[0])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), hops, hops)
def test_a_frame_is_the_mean_over_its_time_or_the_nearest(length: int, count: int, hop: float, target: float) -> None:
    values = np.random.default_rng(length).standard_normal((length, 3)).astype(np.float32)
    found = align(values, hop, count, target)
    assert found.shape == (count, 3)
    centres = (np.arange(length) + 0.5) * hop
    for i, row in enumerate(found):
        inside = (centres >= i * target) & (centres < (i + 1) * target)
        if inside.any():
            assert np.allclose(row, values[inside].mean(0), atol=1e-6)
        else:
            distance = np.abs(centres - (i + 0.5) * target)
            assert any(np.array_equal(row, values[j]) for j in np.flatnonzero(distance < distance.min() + 1e-6))


@given(st.integers(1, 40), hops)
def test_the_same_hop_changes_nothing(length: int, hop: float) -> None:
    values = np.random.default_rng(length).standard_normal((length, 2)).astype(np.float32)
    assert np.array_equal(align(values, hop, length, hop), values)


def test_faster_frames_are_averaged_and_slower_ones_repeated() -> None:
    line = np.arange(8, dtype=np.float32)[:, None]
    assert align(line, 10.0, 3, 40.0).ravel().tolist() == [1.5, 5.5, 7.0]  # the third lies after all frames
    assert align(line[:3], 40.0, 10, 20.0).ravel().tolist() == [0, 0, 1, 1, 2, 2, 2, 2, 2, 2]
    assert align(line, 24.0, 2, 80.0).ravel().tolist() == [1.0, 4.5]  # centres 12, 36, 60 | 84, 108, 132, 156


def test_a_card_rebuilds_them_and_the_fingerprint_follows_each_part(hubert: Path) -> None:
    parts = [LSTM, FAST, hubert_of(hubert)]
    encoder, wave = build(*parts), noise(5000)
    spec = EncoderSpec.model_validate_json(encoder.spec.model_dump_json())
    assert spec == encoder.spec
    assert [part.kind for part in spec.parts] == ["speech_lstm", "logmel", "transformers"]
    again = load_encoder(spec)
    assert again.spec == spec
    assert np.array_equal(again.encode([wave])[0], encoder.encode([wave])[0])
    others = [build(FAST, LSTM, parts[2]), build(LSTM, FAST), build(LSTM, FAST, hubert_of(hubert, layer=1))]
    assert len({spec.fingerprint, *(other.spec.fingerprint for other in others)}) == 4


def test_a_single_encoders_card_has_itself_as_its_only_part() -> None:
    spec = build_audio(AudioEncoderParams.model_validate(LSTM), Path()).spec
    assert spec.parts == (spec,)


def test_other_versions_and_devices_pass_and_other_frames_do_not() -> None:
    spec = build(LSTM, FAST).spec
    lstm, logmel = (part.model_dump(mode="json") for part in spec.parts)
    older = {**lstm, "versions": {"torch": "1.0"}, "settings": {**lstm["settings"], "device": "cuda"}}
    assert load_encoder(spec.model_copy(update={"settings": {**spec.settings, "parts": [older, logmel]}})).hop_ms == 80
    changed = {**logmel, "settings": {**logmel["settings"], "scale": "another"}}
    with pytest.raises(LsgmerError, match=r"not the one on the card: settings is .*another"):
        load_encoder(spec.model_copy(update={"settings": {**spec.settings, "parts": [lstm, changed]}}))
    with pytest.raises(LsgmerError, match=r"not the one on the card: settings is .*centres/0"):
        load_encoder(spec.model_copy(update={"settings": {**spec.settings, "alignment": "centres/0"}}))


def test_the_files_of_each_part_are_packed_in_a_folder_of_its_own(hubert: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(hubert, tmp_path / "models" / name)
    parts = [hubert_of(Path("models/a")), LSTM, hubert_of(Path("models/b"), layer=1)]
    encoder, wave = build(*parts, root=tmp_path), noise(5000)
    pack_encoder(encoder.spec, tmp_path / "bento", root=tmp_path)
    assert sorted(path.name for path in (tmp_path / "bento").iterdir()) == ["0", "2"]
    shutil.rmtree(tmp_path / "models")
    again = load_encoder(encoder.spec, tmp_path / "bento", root=tmp_path)
    assert np.array_equal(again.encode([wave])[0], encoder.encode([wave])[0])
    assert str(tmp_path) not in encoder.spec.model_dump_json()


def test_an_empty_waveform_is_refused() -> None:
    with pytest.raises(LsgmerError, match="empty waveform"):
        build(FAST, SLOW).encode([noise(0)])
