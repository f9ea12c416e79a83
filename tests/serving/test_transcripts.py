"""The service writes words where it is asked to and none are given, says that they are automatic, and keeps none."""

from __future__ import annotations

import base64
import json
from importlib.util import find_spec

import httpx
import numpy as np
import pytest

from lsgmer.audio import decode
from lsgmer.core.errors import LsgmerError
from lsgmer.encoders.moonshine import NEEDS
from lsgmer.encoders.weights import package_file
from lsgmer.inference.prediction import AutomaticTranscript
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.service.settings import ServiceSettings
from serving.answers import Answers
from serving.form import Fields, checked
from serving.guard import Refusal
from tests.serving.test_service import tone
from tests.support.server import Served

installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDS), reason="the extra `moonshine` is not installed: no wheel here"
)
WORDS = "Ever tried, ever failed, no matter, try again, fail again, fail better."


@pytest.fixture(scope="module")
def spoken() -> bytes:
    return package_file("package:moonshine_voice/assets/beckett.wav").read_bytes()


def ask(served: Served, content: bytes, **fields: str) -> httpx.Response:
    return served.post(files={"audio": ("speech.wav", content)}, data=fields)


@installed
def test_automatic_words_are_read_and_marked(served: Served, spoken: bytes) -> None:
    answer = ask(served, spoken, transcribe="true")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["transcript"] == {"text": WORDS, "automatic": True, "reason": None}
    assert body["modalities"] == ["audio", "text"]
    given = ask(served, spoken, text=WORDS).json()
    assert given["transcript"] is None
    assert body["probabilities"] == pytest.approx(given["probabilities"], abs=1e-12)


@installed
@pytest.mark.parametrize("fields", [{}, {"transcribe": "false"}])
def test_nobody_is_transcribed_unasked(served: Served, spoken: bytes, fields: dict[str, str]) -> None:
    body = ask(served, spoken, **fields).json()
    assert (body["transcript"], body["modalities"]) == (None, ["audio"])


@installed
def test_given_words_win(served: Served, spoken: bytes) -> None:
    body = ask(served, spoken, transcribe="true", text="something else").json()
    assert (body["transcript"], body["modalities"]) == (None, ["audio", "text"])


@installed
def test_where_nobody_speaks_the_audio_is_read_alone_with_the_reason(served: Served) -> None:
    body = ask(served, tone(), transcribe="true").json()
    assert body["transcript"] == {"text": "", "automatic": True, "reason": "no speech was found"}
    assert body["modalities"] == ["audio"]


@installed
def test_a_batch_asks_for_each_item(served: Served, spoken: bytes) -> None:
    audio = base64.b64encode(spoken).decode()
    items = [{"audio": audio, "transcribe": True}, {"audio": audio}, {"text": "hello", "transcribe": True}]
    answers = httpx.post(f"{served.url}/predict_batch", json={"items": items}, timeout=60).json()["answers"]
    assert answers[0]["transcript"]["text"] == WORDS
    assert answers[1]["transcript"] is None
    assert (answers[2]["status"], "no audio to transcribe" in answers[2]["error"]) == (400, True)
    bad = {"items": [{"audio": audio, "transcribe": "yes"}]}
    (refused,) = httpx.post(f"{served.url}/predict_batch", json=bad, timeout=60).json()["answers"]
    assert (refused["status"], refused["error"]) == (400, "transcribe: true or false")


@installed
def test_the_log_says_that_words_were_automatic_and_none_of_them(served: Served, spoken: bytes) -> None:
    name = ask(served, spoken, transcribe="true").json()["request_id"]
    content = b"".join(file.read_bytes() for file in sorted(served.log.glob("*.jsonl")))
    (line,) = (json.loads(line) for line in content.splitlines() if json.loads(line).get("request_id") == name)
    assert line["output"]["transcribed"] is True
    assert line["inputs"]["text_hmac"] is None
    assert b"ever failed" not in content.lower()
    assert b"ever failed" not in served.log.with_name("server.log").read_bytes().lower()


@installed
def test_the_service_describes_it(served: Served) -> None:
    schemas = httpx.get(f"{served.url}/openapi.json").json()
    form = schemas["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["transcribe"]["enum"] == ["true", "false"]
    assert "transcript" in schemas["components"]["schemas"]["Prediction"]["properties"]
    assert "$defs" not in json.dumps(schemas)


def test_a_service_that_transcribes_nothing_says_so() -> None:
    with pytest.raises(Refusal, match="transcribes nothing") as refused:
        checked({"audio": b"x", "transcribe": "true"})
    assert refused.value.status == 409
    assert checked({"audio": b"x", "transcribe": "false"}) == Fields(audio=b"x")
    with pytest.raises(Refusal, match="true or false"):
        checked({"audio": b"x", "transcribe": "perhaps"})


def test_a_service_does_not_start_with_a_transcriber_that_is_not_there(served: Served) -> None:
    predictor = Predictor.load(served.source / "model", "offline", device="cpu")
    with pytest.raises(LsgmerError, match="neither moonshine nor a folder"):
        Answers(predictor, SpeakerLevels(0, 1.0), ServiceSettings(transcribe="nowhere"))


def test_a_model_of_words_alone_names_why_there_are_none(served: Served) -> None:
    predictor = Predictor.load(served.source / "model", "offline", device="cpu")
    del predictor.encoders["audio"]
    heard = AutomaticTranscript(text="", reason="no speech was found")
    with pytest.raises(LsgmerError, match="no words for this model to read: no speech was found"):
        predictor.predict([Input(audio=decode(tone()), transcript=heard)])
    heard = AutomaticTranscript(text="hello there", reason=None)
    with_words, with_text = predictor.predict([Input(transcript=heard), Input(text="hello there")])
    assert with_words.transcript == heard
    assert np.allclose(list(with_words.probabilities.values()), list(with_text.probabilities.values()))
