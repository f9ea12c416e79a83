"""A variant trains on its fold only, learns what is there and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import SPLITS
from lsgmer.experiments import answers
from lsgmer.experiments.folds import Unit, folds
from lsgmer.experiments.plan import Protocol, Variant
from lsgmer.experiments.resplit import join
from lsgmer.metrics import balanced_accuracy
from tests.support.synthetic import LABELS, items, learnable, small_params, split

SPEAKERS = 6
COUNT = 120


@pytest.fixture(scope="module")
def whole():
    """120 utterances of 6 speakers whose label shows in both modalities."""
    made = learnable("train", COUNT, 5)
    return replace(made, speakers=tuple(f"s{row % SPEAKERS}" for row in range(COUNT)))


@pytest.fixture(scope="module")
def fold(whole):
    return folds([Unit(name, None, None) for name in whole.speakers], Protocol(kind="loso"))[2]


def settings(**changes):
    return Variant(title="x", **changes)


def params(*overrides):
    return small_params("train.epochs=8", "train.patience=8", "train.learning_rate=0.02", *overrides)


@pytest.mark.parametrize(
    ("variant", "overrides"),
    [
        (settings(), ()),
        (settings(), ("model.enhancement=none",)),
        (settings(), ("model.label_decay=0.0",)),
        (settings(), ("objective.consistency_weight=0.0",)),
        (settings(), ("model.label_start=random",)),
        (settings(), ("model.fusion=concatenation",)),
        (settings(), ("model.fusion=gated",)),
        (settings(modalities=("audio",)), ()),
        (settings(modalities=("text",)), ()),
        (settings(kind="late"), ()),
        (settings(kind="linear"), ()),
        (settings(kind="tfidf"), ("controls.linear_c=[1.0, 10.0]",)),
        (settings(kind="late_tfidf"), ("controls.linear_c=[1.0, 10.0]",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else f"{value.kind}-{'-'.join(value.modalities)}",
)
def test_every_variant_learns_what_is_there(whole, fold, tmp_path, variant, overrides):
    found = answers.answer(whole, fold, variant, params(*overrides), tmp_path)
    assert found.probabilities.shape == (len(fold.test), len(LABELS))
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-6)
    assert balanced_accuracy(whole.labels[fold.test], found.probabilities.argmax(1)) > 0.6


def test_on_shuffled_labels_nothing_is_learnt(whole, tmp_path):
    """The leak test: a model trained on dealt-out labels is at chance on test, over all folds."""
    made = folds([Unit(name, None, None) for name in whole.speakers], Protocol(kind="loso", folds=3))
    guesses, truths = [], []
    for number, fold in enumerate(made):
        found = answers.answer(whole, fold, settings(shuffle_labels=True), params(f"runtime.seed={number}"), tmp_path)
        guesses.append(found.probabilities.argmax(1))
        truths.append(whole.labels[fold.test])
    # 120 utterances of 3 classes: chance is .333 with a deviation of .043; an honest model passes .6 on 20 of them.
    assert balanced_accuracy(np.concatenate(truths), np.concatenate(guesses)) < 0.46


def test_majority_answers_the_training_shares(whole, fold, tmp_path):
    found = answers.answer(whole, fold, settings(kind="majority"), params(), tmp_path)
    shares = np.bincount(whole.labels[fold.train], minlength=3) / len(fold.train)
    np.testing.assert_allclose(found.probabilities, np.tile(shares, (len(fold.test), 1)))


def test_late_fusion_is_the_mean_of_two_models(whole, fold, tmp_path):
    late = answers.answer(whole, fold, settings(kind="late"), params(), tmp_path / "late")
    alone = [answers.answer(whole, fold, settings(modalities=(m,)), params(), tmp_path / m) for m in ("audio", "text")]
    np.testing.assert_allclose(late.probabilities, np.mean([a.probabilities for a in alone], axis=0), atol=1e-9)


def test_late_fusion_with_tfidf_is_the_mean_of_audio_and_words(whole, fold, tmp_path):
    late = answers.answer(whole, fold, settings(kind="late_tfidf"), params(), tmp_path / "late")
    audio = answers.answer(whole, fold, settings(modalities=("audio",)), params(), tmp_path / "audio")
    words = answers.answer(whole, fold, settings(kind="tfidf"), params(), tmp_path)
    np.testing.assert_allclose(late.probabilities, (audio.probabilities + words.probabilities) / 2, atol=1e-9)
    assert late.c == words.c
    assert late.attribution is None


def other_test_part(whole, fold):
    """The same utterances, those of the test part with other labels, other audio and other words."""
    labels, audio, texts = whole.labels.copy(), np.array(whole.flat["audio"]), list(whole.texts)
    labels[fold.test] = (labels[fold.test] + 1) % len(LABELS)
    for row in fold.test:
        start, end = whole.offsets["audio"][row : row + 2]
        audio[start:end] += 5
        texts[row] = "unheard words"
    return replace(whole, labels=labels, flat={**whole.flat, "audio": audio}, texts=tuple(texts), sha256="other")


@pytest.mark.parametrize("kind", ["linear", "tfidf"])
def test_the_test_part_does_not_choose_the_penalty(whole, fold, tmp_path, kind):
    other = other_test_part(whole, fold)
    ours, theirs = (answers.answer(w, fold, settings(kind=kind), params(), tmp_path) for w in (whole, other))
    assert len(ours.candidates) > 1
    assert (ours.c, ours.candidates) == (theirs.c, theirs.candidates)


def test_the_test_part_decides_nothing(whole, fold, tmp_path):
    """Other test labels, other test features: the same model comes out."""
    other = other_test_part(whole, fold)
    ours, theirs = (answers.answer(w, fold, settings(), params(), tmp_path / w.sha256) for w in (whole, other))
    assert ours.history == theirs.history
    np.testing.assert_array_equal(ours.label_embeddings, theirs.label_embeddings)


def test_a_variant_without_its_modality_is_refused(whole, fold, tmp_path):
    deaf = replace(
        whole,
        specs={**whole.specs, "audio": None},
        flat={"text": whole.flat["text"]},
        offsets={"text": whole.offsets["text"]},
    )
    assert answers.answer(deaf, fold, settings(), params(), tmp_path).probabilities.shape[0] == len(fold.test)
    with pytest.raises(LsgmerError, match="the features have no audio"):
        answers.answer(deaf, fold, settings(modalities=("audio",)), params(), tmp_path)


def test_the_official_parts_are_kept_apart_when_joined():
    parts = [split(name, items(6, seed)) for seed, name in enumerate(SPLITS)]
    whole = join(parts)
    units = [Unit(s, None, part.split) for part in parts for s in part.speakers]
    (fold,) = folds(units, Protocol(kind="official"))
    assert [whole.ids[row] for row in fold.test] == list(parts[2].ids)
