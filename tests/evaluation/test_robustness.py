"""The part of the test split that is perturbed has every label, and the same utterances each time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lsgmer.evaluation.robustness import stratified
from lsgmer.manifests.utterance import Utterance


def utterances(labels: list[str]) -> list[Utterance]:
    return [Utterance(f"u{i}", "c", "s", label, label) for i, label in enumerate(labels)]


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 50), st.integers(0, 5))
def test_labels_are_as_even_as_they_can_be(labels: list[str], most: int, seed: int) -> None:
    chosen = stratified(utterances(labels), most, seed)
    assert chosen == stratified(utterances(labels), most, seed)
    assert len(chosen) == min(most, len(labels))
    assert [u.id for u in chosen] == sorted((u.id for u in chosen), key=lambda name: int(name[1:]))
    counts, there = Counter(u.emotion for u in chosen), Counter(labels)
    for first in counts:
        for other in counts:
            assert counts[first] >= counts[other] - 1 or counts[first] == there[first]
