"""Batches, feedback, lineage and the log, over HTTP: each answer can be traced, each item fails alone."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
from jsonschema import Draft202012Validator

from lsgmer.audio import decode
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.service.log_report import find, verify
from tests.serving.test_service import WORDS, tone
from tests.support.server import Served


def post(served: Served, path: str, content: object, **headers: str) -> httpx.Response:
    return httpx.post(f"{served.url}{path}", json=content, headers=headers, timeout=60)


def test_a_batch_is_answered_item_by_item(served: Served) -> None:
    sound = base64.b64encode(tone()).decode()
    items = [
        {"text": WORDS},
        {"audio": "no base64!"},
        {"audio": base64.b64encode(b"no audio").decode()},
        {"audio": sound, "text": WORDS, "speaker": "ann", "channel": 0},
        {"audio": sound, "channel": 5},
        {},
        {"text": 3},
        {"words": "x"},
        {"text": WORDS, "previous": ["Hello.", {"text": "Go!", "speaker": "bob"}], "speaker": "bob"},
        7,
    ]
    answer = post(served, "/predict_batch", {"items": items}, **{"X-Request-ID": "batch-1"})
    assert answer.status_code == 200, answer.text
    found = answer.json()["answers"]
    assert [one["status"] for one in found] == [200, 400, 400, 200, 400, 400, 400, 400, 200, 400]
    assert [one["request_id"] for one in found] == [f"batch-1/{i}" for i in range(len(items))]
    assert found[8]["context_used"] == 2
    offline = Predictor.load(served.source / "model", "offline", device="cpu")
    expected = offline.predict([Input(text=WORDS)])[0]
    assert found[0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert found[0]["contribution"] == pytest.approx(expected.contribution, abs=1e-6)
    logged = [line.content for i in range(len(items)) for line in find(served.log, f"batch-1/{i}")]
    assert [line["status"] for line in logged] == [one["status"] for one in found]
    assert WORDS not in json.dumps(logged)
    assert httpx.delete(f"{served.url}/speakers/ann").status_code == 204


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        ({"items": []}, 400, "items: not a list with something in it"),
        ({"items": [{"text": "x"}] * 33}, 413, "at most 32 are allowed (max_items)"),
        ({"texts": ["x"]}, 400, "items: not a list"),
        ([], 400, "items: not a list"),
    ],
)
def test_a_batch_that_is_none_is_refused(served: Served, content: object, status: int, reason: str) -> None:
    answer = post(served, "/predict_batch", content)
    assert (answer.status_code, reason in answer.json()["error"]) == (status, True), answer.text


@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/feedback"])
def test_json_nested_without_end_is_refused(served: Served, path: str) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{served.url}{path}", content=b"[" * 200_000, headers=headers, timeout=60)
    assert (answer.status_code, "not JSON" in answer.json()["error"]) == (400, True)


def test_feedback_is_logged_about_an_answer_that_is_there(served: Served) -> None:
    name = served.post(data={"text": WORDS}).json()["request_id"]
    said = post(served, "/feedback", {"request_id": name, "label": "happy"})
    assert (said.status_code, said.json()) == (201, {"request_id": name, "label": "happy"})
    kinds = [(line.content["kind"], line.content.get("label")) for line in find(served.log, name)]
    assert kinds == [("prediction", None), ("feedback", "happy")]
    assert post(served, "/feedback", {"request_id": "never-asked", "label": "happy"}).status_code == 404
    assert "not one of angry" in post(served, "/feedback", {"request_id": name, "label": "bored"}).json()["error"]
    assert post(served, "/feedback", {"request_id": name}).status_code == 400


def test_every_answer_is_in_the_log_before_it_is_given(served: Served) -> None:
    body = served.post(files={"audio": ("a.flac", tone())}, data={"text": WORDS}).json()
    (line,) = find(served.log, body["request_id"])
    assert line.content["output"]["probabilities"] == body["probabilities"]
    assert line.content["model_version"] == served.record.tag
    assert line.content["inputs"]["audio_sha256"]
    refused = served.post(files={"audio": ("a.flac", b"none")}).json()["request_id"]
    assert find(served.log, refused)[0].content["status"] == 400
    assert not verify(served.log).broken


def test_contribution_and_duration(served: Served) -> None:
    body = served.post(files={"audio": ("a.flac", tone(2.0))}, data={"text": WORDS}).json()
    offline = Predictor.load(served.source / "model", "offline", device="cpu")
    parts = {"audio": Input(text=WORDS), "text": Input(audio=decode(tone(2.0)))}
    top = body["emotion"]
    for left_out, item in parts.items():
        without = offline.predict([item])[0].probabilities[top]
        assert body["contribution"][left_out] == pytest.approx(body["probabilities"][top] - without, abs=1e-6)
    assert (body["duration_s"], body["abstained"]) == (2.0, False)


def test_the_lineage_names_what_made_the_model(served: Served) -> None:
    found = httpx.get(f"{served.url}/lineage").json()
    assert found["model_version"] == served.record.tag
    assert found["lock_sha256"] == served.record.lock_sha256
    assert set(found["encoders"]) == {"audio", "text"}


def test_answers_are_what_the_openapi_document_says(served: Served) -> None:
    document = httpx.get(f"{served.url}/openapi.json").json()
    Draft202012Validator.check_schema(document["components"]["schemas"]["Prediction"])
    schema = {"$ref": "#/components/schemas/Prediction", "components": document["components"]}
    validator = Draft202012Validator(schema)
    validator.validate(served.post(data={"text": WORDS}).json())
    validator.validate(document["components"]["schemas"]["Prediction"]["examples"][0])
    error = Draft202012Validator({"$ref": "#/components/schemas/Error", "components": document["components"]})
    error.validate(served.post(data={}).json())
    missing = httpx.get(f"{served.url}/nothing")
    assert missing.status_code == 404
    error.validate(missing.json())
