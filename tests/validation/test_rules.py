"""Which rules apply to which kind of split, and how severe they are."""

from __future__ import annotations

import pytest

from lsgmer.validation.rules import kept_rules


@pytest.mark.parametrize(
    ("split", "stops"),
    [
        ("given", {"speaker", "audio"}),
        ("speaker", {"speaker", "audio"}),
        ("session", {"speaker", "session", "audio"}),
        ("official", {"dialogue"}),
        ("text", {"audio", "text"}),
    ],
)
def test_what_may_not_be_in_two_splits(split: str, stops: set[str]) -> None:
    rules = kept_rules(split)
    assert {rule.name for rule in rules if rule.severity == "critical"} == {f"{name}_in_one_split" for name in stops}
    assert {"speaker_in_one_split", "audio_in_one_split", "text_in_one_split"} <= {rule.name for rule in rules}
