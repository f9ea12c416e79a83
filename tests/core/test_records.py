"""Records are strict and frozen, and equal content has one spelling and one hash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lsgmer.core.records import EncoderSpec, Label, Labels, canonical_json, channel_number, digest

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_keys(content):
    turned = dict(reversed(content.items()))
    assert digest(content) == digest(turned)
    assert canonical_json(content) == canonical_json(turned)


def test_nan_is_not_json():
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


@pytest.mark.parametrize("names", [("a",), ("a", "a")])
def test_labels_are_distinct_and_at_least_two(names):
    with pytest.raises(ValidationError, match="two distinct names"):
        Labels(items=tuple(Label(name=name, description="x") for name in names))


def test_label_order_is_the_index():
    labels = Labels(items=tuple(Label(name=name, description="x") for name in "cab"))
    assert [labels.index(name) for name in labels.names] == [0, 1, 2]
    with pytest.raises(ValueError, match="not in tuple"):
        labels.index("z")


SPEC = {"modality": "audio", "kind": "transformers", "dimension": 4, "layer": 2, "versions": {"torch": "2.11.0"}}


@pytest.mark.parametrize(
    "change", [{"layer": 3}, {"versions": {"torch": "2.12.0"}}, {"weights_sha256": "0"}, {"settings": {"n_mels": 1}}]
)
def test_a_fingerprint_changes_with_every_field(change):
    assert EncoderSpec(**SPEC).fingerprint == EncoderSpec(**SPEC).fingerprint
    assert EncoderSpec(**{**SPEC, **change}).fingerprint != EncoderSpec(**SPEC).fingerprint


def test_records_refuse_unknown_keys_and_are_stable_json():
    with pytest.raises(ValidationError):
        EncoderSpec(**SPEC, colour="blue")
    spec = EncoderSpec(**SPEC)
    assert EncoderSpec.model_validate_json(spec.to_json()) == spec
    assert spec.to_json() == EncoderSpec(**dict(reversed(SPEC.items()))).to_json()


@pytest.mark.parametrize(
    ("given", "number"), [("0", 0), (" 1 ", 1), ("left", 0), ("RIGHT", 1), ("1.0", 1), (3, 3), (np.float64(1.0), 1)]
)
def test_channels_have_numbers_and_two_have_names(given: object, number: int) -> None:
    assert channel_number(given) == number


@pytest.mark.parametrize("given", ["", "middle", "-1", "1.5", "٣", True, None, "99999", "0x1"])
def test_what_is_no_channel_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"is not a channel: give 0 \(left\), 1 \(right\), 2, \.\.\., left or right"):
        channel_number(given)
