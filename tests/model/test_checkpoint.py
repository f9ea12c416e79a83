"""A checkpoint rebuilds itself, and a changed byte is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MODALITIES
from lsgmer.model import checkpoint
from lsgmer.model.linear import Linear, load_linear, pooled, save_linear
from lsgmer.model.train_card import CARD, WEIGHTS, speaker_digest
from tests.support.synthetic import LABELS, SPECS, batch, items, model, model_params, split


def fields():
    return {
        "variant": "audio+text",
        "labels": LABELS,
        "encoders": {name: SPECS[name] for name in MODALITIES},
        "params": {"model": model_params().model_dump()},
        "manifest_sha256": "m",
        "feature_sha256": {},
        "seed": 1,
        "best_epoch": 0,
        "epochs_run": 1,
        "valid_metrics": {},
        "split_counts": {},
        "seen_speakers": (),
        "versions": {},
    }


def test_a_checkpoint_rebuilds_itself(tmp_path):
    net = model(seed=4)
    saved = checkpoint.save(tmp_path, net, fields())
    loaded, card = checkpoint.load(tmp_path)
    assert card == saved
    assert card.parameters == sum(p.numel() for p in net.parameters())
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(batch(3)).logits, net(batch(3)).logits)


def test_equal_models_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, model(seed=4), fields())
    for file in (WEIGHTS, CARD):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_one_flipped_byte_is_refused(tmp_path):
    checkpoint.save(tmp_path, model(), fields())
    weights = tmp_path / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(LsgmerError, match=r"model\.safetensors: sha256 is .* the card says"):
        checkpoint.load(tmp_path)


def test_a_card_that_does_not_fit_is_refused(tmp_path):
    checkpoint.save(tmp_path, model(), fields())
    card = json.loads((tmp_path / CARD).read_text())
    card["params"]["model"]["width"] = 16
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(LsgmerError, match="does not fit the model"):
        checkpoint.load(tmp_path)


def test_absent_files_are_named(tmp_path):
    with pytest.raises(LsgmerError, match=r"card\.json"):
        checkpoint.load(tmp_path)
    checkpoint.save(tmp_path, model(), fields())
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(LsgmerError, match=r"model\.safetensors: no such file"):
        checkpoint.load(tmp_path)


def test_pooled_features_by_hand():
    made = items(1)
    part = split("train", made)
    row = pooled(part)[0]
    audio, text = made[0].audio.astype("f8"), made[0].text.astype("f8")
    expected = [audio.mean(0), audio.std(0), [1.0], text.mean(0), text.std(0), [1.0]]
    np.testing.assert_allclose(row, np.concatenate(expected))


def test_pooled_says_which_modality_is_missing():
    part = split("train", items(12, absent=1.0))
    rows = pooled(part)
    audio_there = rows[:, 12]
    np.testing.assert_array_equal(audio_there, part.has("audio").astype(float))


def test_linear_round_trip(tmp_path):
    part = split("train", items(5))
    size = pooled(part).shape[1]
    random = np.random.default_rng(0)
    made = Linear(np.zeros(size), np.ones(size), random.normal(size=(3, size)), np.zeros(3))
    save_linear(tmp_path, made)
    loaded = load_linear(tmp_path)
    np.testing.assert_array_equal(loaded.probabilities(part), made.probabilities(part))
    np.testing.assert_allclose(made.probabilities(part).sum(1), 1)


def test_speaker_digests_compare_and_do_not_tell():
    assert speaker_digest("anna") == speaker_digest("anna") != speaker_digest("bob")
    assert "anna" not in speaker_digest("anna")
