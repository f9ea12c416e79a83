"""TF-IDF knows the training words only, and answers with the training shares where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError
from lsgmer.experiments.tfidf import choose_tfidf
from tests.support.synthetic import LABELS, items, split

WORDS = {"angry": "go away now", "happy": "so glad today", "neutral": "the train leaves"}


def part(name, count, seed, texts=None):
    made = split(name, items(count, seed))
    return replace(made, texts=tuple(texts or [WORDS[LABELS.names[label]] for label in made.labels]))


def chosen(train, valid, metric="balanced_accuracy"):
    return choose_tfidf(train, valid, (0.1, 10.0), 0.5, 7, metric)


def test_it_learns_words():
    train, valid, test = part("train", 40, 1), part("valid", 20, 2), part("test", 20, 3)
    probabilities = chosen(train, valid).model.probabilities(test)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(probabilities.argmax(1), test.labels)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(alphabet="abcxyz ", min_size=1), min_size=6, max_size=6))
def test_it_never_sees_a_word_that_training_has_not(texts):
    """Words of validation and test are not in the vocabulary, and say nothing beside known words."""
    train, valid = part("train", 20, 1), part("valid", 6, 2, texts=texts)
    model = chosen(train, valid).model
    known = {word for text in train.texts for word in text.split()}
    assert {word for term in model.vectorizer.vocabulary_ for word in term.split()} <= known
    test = part("test", 6, 3, texts=[f"glad {text}" for text in texts])
    unknown = [" ".join(word for word in text.split() if word in known) for text in test.texts]
    plain = part("test", 6, 3, texts=unknown)
    np.testing.assert_allclose(model.probabilities(test), model.probabilities(plain))


def test_without_words_it_answers_the_training_shares():
    train, valid = part("train", 30, 1), part("valid", 9, 2)
    test = part("test", 3, 3, texts=[None, "  ", "glad"])
    shares = np.bincount(train.labels, minlength=3) / len(train)
    probabilities = chosen(train, valid).model.probabilities(test)
    np.testing.assert_allclose(probabilities[:2], [shares, shares])
    assert not np.allclose(probabilities[2], shares)


@pytest.mark.parametrize("text", [None, " ", "?"])
def test_a_corpus_without_words_is_refused(text):
    with pytest.raises(LsgmerError, match="no training utterance has words"):
        chosen(part("train", 9, 1, texts=[text] * 9), part("valid", 9, 2))
