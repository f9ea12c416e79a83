"""The words alone, without an encoder: TF-IDF of words and word pairs, and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.features.store import FeatureSplit
from lsgmer.model.logistic import Chosen, Coefficients, choose_penalty, fit_logistic, softmax

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Tfidf:
    """A vectorizer that knows the training split's words only, and logistic regression on its output.

    `prior` (C,) is the training split's share of each class: the answer for an utterance without words.
    """

    vectorizer: Any
    coefficients: Coefficients
    prior: Array

    def probabilities(self, split: FeatureSplit) -> Array:
        """Return (N, C) class probabilities for every utterance of `split`."""
        found = np.tile(self.prior, (len(split), 1))
        rows = rows_with_words(split)
        if len(rows):
            values = self.vectorizer.transform([split.texts[row] for row in rows])
            found[rows] = softmax(values @ self.coefficients.coef.T + self.coefficients.intercept)
        return found


def rows_with_words(split: FeatureSplit) -> Array:
    """Return the rows of the utterances whose text is not blank."""
    return np.array([row for row, text in enumerate(split.texts) if text and text.strip()], dtype=np.int64)


def choose_tfidf(
    train: FeatureSplit,
    valid: FeatureSplit,
    candidates: Sequence[float],
    class_weight_power: float,
    seed: int,
    metric: str,
) -> Chosen[Tfidf]:
    """Fit on the words of `train` with each C of `candidates`; choose on `valid`, by `choose_penalty`.

    Raises LsgmerError when no training utterance has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes seconds to import

    rows, classes = rows_with_words(train), len(train.label_set)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        values = vectorizer.fit_transform([train.texts[row] for row in rows])
    except ValueError:
        raise LsgmerError("no training utterance has words: leave TF-IDF out of the grid") from None
    labels, prior = train.labels[rows], np.bincount(train.labels, minlength=classes) / len(train)

    def fit(c: float) -> Tfidf:
        return Tfidf(vectorizer, fit_logistic(values, labels, classes, c, class_weight_power, seed), prior)

    return choose_penalty(candidates, fit, lambda model: model.probabilities(valid), valid.labels, metric)
