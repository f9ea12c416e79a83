"""Entries hold only what can be written as one line of JSON, and no inputs by mistake."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lsgmer.service.entries import EventEntry, FeedbackEntry, Inputs, Output
from tests.support.logs import entry


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Inputs, {"audio_sha256": "a recording"}),
        (Inputs, {"text_hmac": "I told you so"}),
        (Inputs, {"earlier_hmac": "0" * 64}),
        (Inputs, {"speaker": "Ada"}),
        (Inputs, {"text": "I told you so"}),
        (Output, {"emotion": "sad", "probabilities": {"sad": float("nan")}, "consistency": 1.0}),
        (Output, {"emotion": "sad", "probabilities": {}, "consistency": float("inf")}),
        (FeedbackEntry, {"request_id": "", "label": "sad"}),
        (FeedbackEntry, {"request_id": "r1", "label": "x" * 257}),
        (FeedbackEntry, {"request_id": "\ud800", "label": "sad"}),
        (EventEntry, {"event": "started", "detail": "x" * 5000}),
        (type(entry("r")), {**entry("r").model_dump(), "status": 42}),
    ],
)
def test_what_does_not_belong_in_the_log_is_refused(kind, content):
    with pytest.raises(ValidationError):
        kind(**content)
