"""The profile: histograms that account for every value, shares that add up, the same bytes in any order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import AudioFacts
from lsgmer.core.records import SPLITS, Label, Labels
from lsgmer.manifests.utterance import Utterance
from lsgmer.validation.frame import to_frame
from lsgmer.validation.profile import BINS, histogram, profile_of

LABELS = Labels(items=(Label(name="sad", description="low"), Label(name="happy", description="bright")))


@given(values=st.lists(st.floats(-1e6, 1e6) | st.none(), max_size=60))
@settings(max_examples=100)
def test_every_value_is_in_exactly_one_bin(values):
    found = histogram(pd.Series(values, dtype="float64"))
    known = [value for value in values if value is not None]
    if not known:
        assert found is None
        return
    assert found.n == len(known)
    assert sum(found.shares) == pytest.approx(1, abs=1e-5)
    assert len(found.edges) == len(found.shares) + 1 <= BINS + 1
    assert list(found.edges) == sorted(found.edges)
    assert found.edges[0] == pytest.approx(min(known), abs=1e-6)


def test_distinct_values_fill_their_quantiles_evenly():
    found = histogram(pd.Series(np.random.default_rng(0).normal(size=1000)))
    assert found.shares == pytest.approx([0.1] * BINS, abs=0.002)
    assert found.mean == pytest.approx(0, abs=0.1)


def test_a_constant_has_one_bin():
    found = histogram(pd.Series([2.0] * 5))
    assert (found.edges, found.shares, found.sd) == ((2.0, 2.0), (1.0,), 0.0)


def frame():
    made, facts = [], {}
    for index in range(30):
        spoken = index % 5 > 0
        made.append(
            Utterance(
                id=f"u{index}", corpus="t", speaker=f"s{index % 6}", split=SPLITS[index % 3],
                sex=("female", "male", None)[index % 3], emotion_raw="x", emotion=LABELS.names[index % 10 == 0],
                audio=f"{index}.wav" if spoken else None, text="one two" if index % 2 or not spoken else None,
            )
        )  # fmt: skip
        if spoken:
            facts[f"u{index}"] = AudioFacts(duration_s=1.0 + index, rms_db=-20.0 - index, silence_share=0.1)
    return to_frame(made, facts)


def test_a_profile_adds_up():
    found = profile_of(frame(), LABELS)
    assert found.splits == {"train": 10, "valid": 10, "test": 10}
    assert sum(found.modalities.values()) == 30
    assert found.class_shares["train"] == {"sad": 0.9, "happy": 0.1}
    assert found.sex_shares["test"] == {"female": 0.0, "male": 0.0, "unknown": 1.0}
    assert found.histograms["duration_s"].n == 8
    assert found.labels["happy"].splits == {"train": 1, "valid": 1, "test": 1}
    assert found.labels["happy"].mean_duration_s is None
    assert found.labels["happy"].mean_words == 2


def test_the_reference_is_what_the_model_learns_from():
    other = frame()
    other.loc[other["split"] == "test", "duration_s"] = 99.0
    assert profile_of(other, LABELS).histograms == profile_of(frame(), LABELS).histograms


def test_order_does_not_matter():
    assert profile_of(frame(), LABELS).to_json() == profile_of(frame().iloc[::-1], LABELS).to_json()


def test_a_corpus_of_words_has_a_profile():
    made = [Utterance(id="a", corpus="t", speaker="s", split="train", emotion_raw="x", emotion="sad", text="a b c")]
    found = profile_of(to_frame(made, {}), LABELS)
    assert set(found.histograms) == {"text_words", "text_characters"}
    assert found.modalities == {"audio": 0, "text": 1, "both": 0}
