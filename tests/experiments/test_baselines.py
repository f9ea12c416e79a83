"""Zero-shot learns nothing: it compares text features with the label descriptions, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.experiments.baselines import zero_shot
from tests.support.synthetic import LABELS, items, small_params, split


def answers(train, test, temperature=0.1):
    params = small_params(f"model.temperature={temperature}")
    return zero_shot(train, split("valid", items(5, 8)), params).predict(test)


def test_an_utterance_like_a_description_gets_its_label():
    made = items(12, 4)
    test = split("test", made)
    flat = test.flat["text"].copy()
    for row, item in enumerate(made):
        start, end = test.offsets["text"][row : row + 2]
        flat[start:end] = 3 * test.label_text[item.label]
    found = answers(split("train", items(6, 5)), replace(test, flat={**test.flat, "text": flat}))
    np.testing.assert_array_equal(found.argmax(1), test.labels)
    np.testing.assert_allclose(found.sum(1), 1)


def test_it_is_the_softmax_of_the_cosine_over_temperature():
    test = split("test", items(4, 4))
    mean = test.features("text", 2).astype("f8").mean(0)
    cosine = test.label_text @ mean / np.linalg.norm(test.label_text, axis=1) / np.linalg.norm(mean)
    expected = np.exp(cosine / 0.5) / np.exp(cosine / 0.5).sum()
    np.testing.assert_allclose(answers(test, test, 0.5)[2], expected, rtol=1e-5)


def test_training_data_changes_nothing():
    test = split("test", items(9, 4, absent=0.4))
    ours, theirs = (answers(split("train", items(7, seed)), test) for seed in (1, 2))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(ours[~test.has("text")], 1 / len(LABELS))


def test_it_needs_embedded_descriptions():
    train = replace(split("train", items(4)), label_text=None)
    with pytest.raises(LsgmerError, match="zero-shot needs a text encoder"):
        answers(train, train)
