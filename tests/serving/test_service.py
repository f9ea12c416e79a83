"""The served model, over HTTP: what curl would see."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from lsgmer.audio import decode
from lsgmer.encoders.context import Earlier
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from tests.support.faults import FAULTS
from tests.support.server import Served

WORDS = "I cannot believe you did that"


def tone(seconds: float = 1.0, pitch: float = 180.0, rate: int = 16000, channels: int = 1, kind: str = "FLAC") -> bytes:
    """Return a file of a trembling tone, which decodes like speech would."""
    time = np.arange(int(seconds * rate)) / rate
    samples = 0.3 * np.sin(2 * np.pi * pitch * time) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))
    buffer = io.BytesIO()
    soundfile.write(buffer, np.tile(samples[:, None], (1, channels)).astype(np.float32), rate, format=kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def offline(served: Served) -> Predictor:
    return Predictor.load(served.source / "model", "offline", device="cpu")


def audio(content: bytes, name: str = "speech.flac") -> dict[str, object]:
    return {"files": {"audio": (name, content)}}


@pytest.mark.parametrize("given", [("audio", "text"), ("audio",), ("text",)])
def test_the_served_answer_is_the_offline_answer(served: Served, offline: Predictor, given: tuple[str, ...]) -> None:
    sound, words = tone() if "audio" in given else None, WORDS if "text" in given else None
    answer = served.post(**(audio(sound) if sound else {}), **({"data": {"text": words}} if words else {}))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    expected = offline.predict([Input(audio=decode(sound) if sound else None, text=words)])[0]
    assert body["probabilities"] == pytest.approx(expected.probabilities, abs=1e-12)
    assert body["attribution"] == pytest.approx(expected.attribution, abs=1e-12)
    assert body["consistency"] == pytest.approx(expected.consistency, abs=1e-12)
    assert body["emotion"] == expected.emotion
    assert body["modalities"] == list(given)
    assert body["model_version"] == served.record.tag
    assert sum(body["probabilities"].values()) == pytest.approx(1)


def test_a_request_id_is_echoed_and_else_made(served: Served) -> None:
    given = served.post(data={"text": WORDS}, headers={"X-Request-ID": "ab-12"})
    assert (given.headers["X-Request-ID"], given.json()["request_id"]) == ("ab-12", "ab-12")
    made = served.post(data={"text": WORDS}, headers={"X-Request-ID": "a b\tc" + "x" * 200})
    assert made.headers["X-Request-ID"] == made.json()["request_id"]
    assert len(made.json()["request_id"]) == 36


REFUSED = {
    "neither": ({}, 400, "neither audio nor text"),
    "blank": ({"data": {"text": "  \n"}}, 400, "neither audio nor text"),
    "text as audio": (audio(b"no audio at all\n", "x.txt"), 400, "audio: undecodable"),
    "empty file": (audio(b""), 400, "audio: the file is empty"),
    "cut short": (audio(tone(kind="WAV")[:9000], "x.wav"), 400, "audio:"),
    "61 s": (audio(tone(61, rate=8000)), 422, "at most 60 s"),
    "9 channels": (audio(tone(0.1, channels=9, kind="WAV")), 422, "9 channels"),
    **{name: (audio(content, "x.wav"), 422, reason) for name, (content, reason) in FAULTS.items()},
    "too big": (audio(b"\0" * (25 * 2**20 + 1)), 413, "at most 25"),
    "long text": ({"data": {"text": "a" * 10_001}}, 413, "text: 10001 characters"),
    "other field": ({"files": {"file": ("x.flac", b"1")}}, 400, "unknown field(s) file"),
    "audio as words": ({"data": {"audio": "http://127.0.0.1:9/x.wav"}}, 400, "audio: is text, not a file"),
    "twice": ({"data": {"text": [WORDS, WORDS]}}, 400, "text: given 2 times"),
    "broken form": ({"content": b"xx", "headers": {"content-type": "multipart/form-data"}}, 400, "form cannot be read"),
    "other type": ({"content": b"xx", "headers": {"content-type": "audio/wav"}}, 415, "audio/wav is not understood"),
    "json list": ({"json": [1]}, 400, "JSON body"),
    "deep json": (
        {"content": b"[" * 200_000, "headers": {"content-type": "application/json"}},
        400,
        "the body is not JSON",
    ),
    "previous is text": ({"data": {"text": WORDS, "previous": "hello"}}, 400, "previous: not JSON"),
    "previous is no list": ({"json": {"text": WORDS, "previous": {"text": "a"}}}, 400, "previous: not a list"),
    "previous of numbers": ({"json": {"text": WORDS, "previous": ["a", 3]}}, 400, "previous[1]: neither"),
    "previous without text": ({"json": {"text": WORDS, "previous": [{"speaker": "a"}]}}, 400, "previous[0]: neither"),
    "too many previous": ({"json": {"text": WORDS, "previous": ["a"] * 33}}, 413, "previous: 33 utterances"),
    "long previous": ({"json": {"text": WORDS, "previous": ["a" * 10_001]}}, 413, "previous[0].text: 10001"),
    "odd speaker": ({"data": {"text": WORDS, "speaker": "a\nb"}}, 400, "speaker: at most 128"),
    "no channel": ({**audio(tone()), "data": {"channel": "middle"}}, 400, "channel: channel 'middle' is not a channel"),
    "absent channel": ({**audio(tone(channels=2)), "data": {"channel": "2"}}, 400, "has 2 channels, 0 to 1"),
    "channel of nothing": ({"data": {"text": WORDS, "channel": "0"}}, 400, "channel: there is no audio"),
    "long speaker": ({"data": {"text": WORDS, "speaker": "a" * 129}}, 400, "speaker: at most 128"),
    "lone surrogate": (
        {"content": b'{"text": "\\ud800"}', "headers": {"content-type": "application/json"}},
        400,
        "text:",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_is_refused_with_the_reason(served: Served, name: str) -> None:
    request, status, reason = REFUSED[name]
    answer = served.post(**request)
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["error"]
    assert "/tmp" not in answer.text
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert served.post(data={"text": WORDS}).status_code == 200  # and the next good request is answered


@pytest.mark.parametrize("words", ["42", "null", "true", '"quoted" words', "[1]", "naïve 😀"])
def test_words_are_words_whatever_they_look_like(served: Served, offline: Predictor, words: str) -> None:
    answer = served.post(data={"text": words})
    assert answer.status_code == 200, answer.text
    expected = offline.predict([Input(text=words)])[0].probabilities
    assert answer.json()["probabilities"] == pytest.approx(expected, abs=1e-6)  # batched with others
    assert served.post(json={"text": words}).json()["probabilities"] == answer.json()["probabilities"]


def test_earlier_utterances_are_read_and_counted(served: Served, offline: Predictor) -> None:
    lines = [{"text": "how could you", "speaker": "ann"}, {"text": "I am sorry", "speaker": "bob"}, "really"]
    before = (Earlier("I am sorry", False), Earlier("really"))
    expected = offline.predict([Input(text=WORDS, previous=before)])[0]
    for request in (
        {"json": {"text": WORDS, "speaker": "ann", "previous": lines}},
        {"data": {"text": WORDS, "speaker": "ann", "previous": json.dumps(lines)}},
    ):
        body = served.post(**request).json()
        assert body["context_used"] == 2, "the model reads two"
        assert body["probabilities"] == pytest.approx(expected.probabilities, abs=1e-12)
    alone = served.post(data={"text": WORDS}).json()
    assert alone["context_used"] == 0
    assert alone["probabilities"] != pytest.approx(expected.probabilities, abs=1e-6)


def test_a_text_that_is_cut_is_answered_with_a_warning(served: Served) -> None:
    assert served.post(data={"text": WORDS}).json()["warnings"] == []
    (warning,) = served.post(data={"text": "again " * 1000}).json()["warnings"]
    assert warning == "text: cut after 128 tokens, the last 874 were not read; send shorter pieces"


def test_a_speakers_level_is_learnt_used_and_deleted(served: Served, offline: Predictor) -> None:
    sounds = [tone(pitch=150.0 + 10 * i) for i in range(6)]
    levels = SpeakerLevels(2, 3600)
    for i, sound in enumerate(sounds):
        body = served.post(**audio(sound), data={"speaker": "ann 1"}).json()
        expected = offline.predict([Input(audio=decode(sound), speaker="ann 1")], levels=levels)[0]
        assert (body["normalised_by"], body["enrolled"]) == (("training", "speaker")[i >= 4], i + 1)
        assert body["probabilities"] == pytest.approx(expected.probabilities, abs=1e-9)
    again = served.post(**audio(sounds[-1]), data={"speaker": "ann 1"}).json()
    assert again["enrolled"] == 6, "the same recording counts once"
    assert served.post(**audio(b"no audio"), data={"speaker": "ann 1"}).status_code == 400
    assert httpx.get(f"{served.url}/speakers").json() == {"kept": 1, "most": 2, "hours": 24.0}
    assert httpx.delete(f"{served.url}/speakers/ann 1").status_code == 204
    assert httpx.delete(f"{served.url}/speakers/ann 1").status_code == 404
    assert httpx.get(f"{served.url}/speakers").json()["kept"] == 0
    unknown = served.post(**audio(sounds[0])).json()
    assert (unknown["normalised_by"], unknown["enrolled"]) == ("training", 0)


@pytest.mark.parametrize("kind", ["WAV", "OGG", "MP3"])
def test_other_formats_rates_and_channels_are_read(served: Served, kind: str) -> None:
    answer = served.post(**audio(tone(rate=44100, channels=2, kind=kind), f"{'x' * 300}.{kind.lower()}"))
    assert answer.status_code == 200, answer.text


def test_each_channel_of_a_call_has_its_own_answer(served: Served, offline: Predictor, tmp_path: Path) -> None:
    """Over HTTP, and by `lsgmer predict` with the same model."""
    voices = [soundfile.read(io.BytesIO(tone(pitch=pitch)))[0] for pitch in (120.0, 330.0)]
    soundfile.write(tmp_path / "call.wav", np.stack(voices, axis=1), 16000)
    content = (tmp_path / "call.wav").read_bytes()
    answers = [served.post(**audio(content), data={"channel": side}).json()["probabilities"] for side in ("left", "1")]
    assert answers[0] != pytest.approx(answers[1], abs=1e-3)
    for answer, side in zip(answers, (0, 1), strict=True):
        (expected,) = offline.predict([Input(audio=decode(content, channel=side))])
        assert answer == pytest.approx(expected.probabilities, abs=1e-12)
    mixed = served.post(**audio(content)).json()["probabilities"]
    assert mixed == pytest.approx(offline.predict([Input(audio=decode(content))])[0].probabilities, abs=1e-12)


def test_requests_at_the_same_time_get_each_their_own_answer(served: Served, offline: Predictor) -> None:
    texts = [f"sentence number {i}" for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda text: served.post(data={"text": text}, headers={"X-Request-ID": text[-2:].strip()}), texts)
        )
    for text, answer in zip(texts, answers, strict=True):
        assert answer.json()["request_id"] == text[-2:].strip()
        expected = offline.predict([Input(text=text)])[0].probabilities
        assert answer.json()["probabilities"] == pytest.approx(expected, abs=1e-6)  # batched with others


def test_the_card_and_the_page_are_served(served: Served) -> None:
    card = httpx.get(f"{served.url}/card")
    assert card.headers["content-type"] == "application/json"
    assert card.json() == json.loads((served.source / "papers" / "model_card.json").read_text())
    page = httpx.get(served.url)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("app.js", "style.css"):
        assert f"web/{name}" in page.text
        assert httpx.get(f"{served.url}/web/{name}").status_code == 200


def test_the_page_needs_no_other_host() -> None:
    for path in (Path(__file__).parents[2] / "serving" / "web").iterdir():
        assert "//" not in path.read_text().replace("// ", ""), path


def test_health_metrics_and_the_api_description_are_there(served: Served) -> None:
    served.post(data={"text": WORDS})
    for path in ("livez", "readyz", "metrics"):
        assert httpx.get(f"{served.url}/{path}").status_code == 200
    assert 'endpoint="/predict"' in httpx.get(f"{served.url}/metrics").text
    body = httpx.get(f"{served.url}/docs.json").json()["paths"]["/predict"]["post"]["requestBody"]
    assert set(body["content"]) == {"multipart/form-data"}


def test_bentomls_own_client_works(served: Served, tmp_path: Path) -> None:
    import bentoml

    (tmp_path / "x.flac").write_bytes(tone())
    with bentoml.SyncHTTPClient(served.url) as client:
        answer = client.predict(audio=tmp_path / "x.flac", text=WORDS)
    assert answer["modalities"] == ["audio", "text"]
    direct = served.post(**audio(tone()), data={"text": WORDS}).json()
    assert answer["probabilities"] == direct["probabilities"]


def test_the_server_runs_the_code_and_model_of_its_bento(served: Served) -> None:
    """A page that the workspace changes later does not reach what was packaged."""
    index = served.workspace.root / "serving" / "web" / "index.html"
    before = index.read_text()
    index.write_text("changed")
    try:
        assert httpx.get(served.url).text == before
    finally:
        index.write_text(before)


def test_code_from_elsewhere_may_not_answer_in_the_name_of_a_bento(tmp_path: Path) -> None:
    from lsgmer.core.errors import LsgmerError
    from serving.service import ROOT, demand_own_code

    demand_own_code(ROOT)
    with pytest.raises(LsgmerError, match=r"the code that would answer is in .* serve the Bento by its folder"):
        demand_own_code(tmp_path / "src")
