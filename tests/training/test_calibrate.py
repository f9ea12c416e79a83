"""The temperature is the one with the lowest log loss, and it never changes which label is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.records import MODALITIES
from lsgmer.inference.outputs import predict_split
from lsgmer.model import checkpoint
from lsgmer.model.logistic import softmax
from lsgmer.training.calibrate import best_temperature
from lsgmer.training.fit import fit
from tests.support.synthetic import items, learnable, small_params, split


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1.2, 8.0))
def test_the_temperature_that_was_put_in_is_found(seed, true):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (4000, 4))
    labels = np.array([random.choice(4, p=row) for row in softmax(logits)])
    assert best_temperature(logits * true, labels) == pytest.approx(true, rel=0.15)


@given(st.integers(0, 100), st.floats(0.3, 3.0))
def test_no_other_temperature_is_better(seed, factor):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 2, (40, 3)), random.integers(0, 3, 40)

    def loss(temperature):
        return -np.log(softmax(logits / temperature)[np.arange(40), labels]).mean()

    best = best_temperature(logits, labels)
    assert loss(best) <= loss(np.clip(best * factor, 1, 20)) + 1e-6


def test_no_model_is_made_surer_than_training_left_it():
    assert best_temperature(np.eye(3), np.arange(3)) == pytest.approx(1, rel=1e-3)


def test_the_model_carries_its_temperature_and_chooses_as_before(tmp_path):
    train, valid = learnable("train", 48, 1), split("valid", items(24, 5))  # labels at random: far too sure
    found = {}
    for on in ("true", "false"):
        fitted = fit(train, valid, small_params(f"train.calibrate={on}"), MODALITIES, tmp_path / on)
        checkpoint.save(tmp_path / on / "model", fitted.model, fitted.card)
        found[on], card = checkpoint.load(tmp_path / on / "model")
        assert (card.calibration is not None) == (on == "true")
    scaled, plain = (predict_split(found[on], valid, 8).probabilities for on in ("true", "false"))
    assert (scaled.argmax(1) == plain.argmax(1)).all()
    temperature = float(found["true"].temperature_scale)
    assert temperature != pytest.approx(1.0)
    powered = plain ** (1 / temperature)
    assert scaled == pytest.approx(powered / powered.sum(1, keepdims=True), abs=1e-5)
