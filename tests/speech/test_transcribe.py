"""Speech in English becomes its words, and silence, noise, tones, music and another language become none."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from lsgmer.audio import Waveform, decode, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.encoders.moonshine import NEEDS
from lsgmer.encoders.params import TranscribeParams
from lsgmer.encoders.weights import find_files, package_file
from lsgmer.features.perturbations import AUDIO
from lsgmer.params import load_params
from lsgmer.speech import moonshine_decoder
from lsgmer.speech.moonshine_decoder import read_tokenizer
from lsgmer.speech.transcribe import NO_SPEECH, Transcriber, build_transcriber, transcriber_called
from lsgmer.speech.whisper import Whisper
from tests.support.tiny import save_whisper

installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDS), reason="the extra `moonshine` is not installed: no wheel here"
)
ROOT = Path(__file__).parents[2]
NEMO = ROOT.parent / "shared/data/nemo"
RATE = 16_000
SPOKEN = "Both versions are about the same length. It was a dream come true."
SPEAK = """
import sys
from lsgmer.corpora.synthetic.espeak import SAMPLE_RATE, Speech, speak
import soundfile
spoken = Speech(sys.argv[1], "en-us+f3", rate=140, pitch=50, pitch_range=50, volume=100, seed=1)
soundfile.write(sys.argv[2], speak(spoken), SAMPLE_RATE)
"""


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    torch.set_num_threads(1)
    return build_transcriber(TranscribeParams(kind="moonshine"), ROOT)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Waveform:
    """eSpeak, in a process of its own, says SPOKEN."""
    path = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    subprocess.run([sys.executable, "-c", SPEAK, SPOKEN, str(path)], check=True, cwd=ROOT, timeout=60)
    return decode(path)


def beckett() -> Waveform:
    """A recording that the package with the model brings along."""
    return decode(package_file("package:moonshine_voice/assets/beckett.wav"))


def said(text: str) -> list[str]:
    return "".join(letter for letter in text.lower() if letter.isalpha() or letter.isspace()).split()


def music(seconds: float = 4.0) -> np.ndarray:
    """Chords of decaying harmonics with a beat of noise, two a second."""
    time, rng = np.arange(int(seconds * RATE)) / RATE, np.random.default_rng(3)
    beat = np.exp(-6 * (time % 0.5))
    chords = np.choose((time // 2).astype(int) % 2, [np.ones_like(time), np.full_like(time, 4 / 3)])
    tones = sum(np.sin(2 * np.pi * np.cumsum(f * chords) / RATE * k) / k for f in (220, 277, 330) for k in (1, 2, 3))
    return 0.1 * tones * beat + 0.05 * rng.standard_normal(len(time)) * np.exp(-40 * (time % 0.25))


NOT_SPEECH = {
    "silence": np.zeros(3 * RATE),
    "white noise": 0.1 * np.random.default_rng(0).standard_normal(3 * RATE),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE),
    "music": music(),
    "one sample": np.zeros(1),
    "nothing": np.zeros(0),
}


@installed
@pytest.mark.parametrize("name", NOT_SPEECH)
def test_what_is_no_speech_has_no_words(transcriber: Transcriber, name: str) -> None:
    found = transcriber.transcribe(Waveform(NOT_SPEECH[name].astype(np.float32), RATE))
    assert (found.text, found.reason, found.mean_log_probability) == ("", NO_SPEECH, None)


@installed
def test_clear_speech_is_written_down(transcriber: Transcriber, spoken: Waveform) -> None:
    found = transcriber.transcribe(spoken)
    assert found.reason is None
    assert len(set(said(SPOKEN)) & set(said(found.text))) >= 11  # of 13: the synthetic voice is a little unclear
    words = "ever tried ever failed no matter try again fail again fail better"
    assert said(transcriber.transcribe(beckett()).text) == words.split()
    call = AUDIO["telephone"](beckett(), np.random.default_rng(0))
    assert said(transcriber.transcribe(call).text) == words.split()


@installed
def test_the_same_recording_has_the_same_words_whatever_surrounds_it(transcriber: Transcriber) -> None:
    wave = resample(beckett(), RATE)
    assert transcriber.transcribe(wave) == transcriber.transcribe(wave)
    quiet = np.zeros(3 * RATE, np.float32)
    found = transcriber.transcribe(Waveform(np.concatenate([quiet, wave.samples, quiet]), RATE))
    assert said(found.text) == said(transcriber.transcribe(wave).text)


@installed
def test_long_speech_is_read_in_pieces_that_do_not_loop(transcriber: Transcriber) -> None:
    wave = resample(beckett(), RATE)
    pause = np.zeros(2 * RATE, np.float32)
    found = transcriber.transcribe(Waveform(np.concatenate([wave.samples, pause] * 4), RATE))
    assert said(found.text) == said(transcriber.transcribe(wave).text) * 4


@installed
@pytest.mark.real
def test_polish_has_no_english_words(transcriber: Transcriber) -> None:
    if not NEMO.is_dir():
        pytest.skip("needs ../shared/data/nemo")
    for path in sorted(NEMO.rglob("*.flac"))[::24]:
        found = transcriber.transcribe(decode(path))
        assert found.text == "", path.name
        assert found.reason


@installed
def test_without_the_checks_polish_would_have_words(transcriber: Transcriber) -> None:
    if not NEMO.is_dir():
        pytest.skip("needs ../shared/data/nemo")
    path = min(NEMO.rglob("*.flac"))
    assert transcriber._recogniser.hear(resample(decode(path), RATE)).text


@installed
def test_another_file_in_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    moonshine_decoder._checked.cache_clear()
    monkeypatch.setitem(moonshine_decoder.FILES, "tokenizer.bin", "0" * 64)
    with pytest.raises(LsgmerError, match=r"tokenizer\.bin: sha256 is .*; install moonshine-voice 0\.1\.0"):
        build_transcriber(TranscribeParams(kind="moonshine"), ROOT)
    moonshine_decoder._checked.cache_clear()


def test_a_tokenizer_of_bytes_is_read() -> None:
    long = b"x" * 130
    content = b"\x03<s>" + b"\x04\xe2\x96\x81a" + b"\x06<0x41>" + bytes([130, 1]) + long + b"\x01<"
    assert read_tokenizer(content) == [b"", b"\xe2\x96\x81a", b"A", long, b"<"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kind": "whisper"}, "needs a source"),
        ({"kind": "moonshine", "source": "models/w"}, "leave this out"),
        ({"kind": "moonshine", "language": "en"}, "leave this out"),
        ({"kind": "whisper", "source": "w", "language": "English"}, "language"),
        ({"kind": "moonshine", "min_log_probability": 0.5}, "min_log_probability"),
    ],
)
def test_wrong_params_are_named(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TranscribeParams.model_validate(given)


def test_params_ask_for_words_only_where_they_are_read() -> None:
    params = load_params(ROOT / "params.yaml", ["features.text.transcribe={kind: moonshine}"])
    assert params.features.text.transcribe == TranscribeParams(kind="moonshine")
    with pytest.raises(LsgmerError, match=r"transcribe: no encoder reads the words of kind none"):
        load_params(ROOT / "params.yaml", ["features.text={kind: none, transcribe: {kind: moonshine}}"])


@pytest.mark.parametrize("language", [None, "en", "pl"])
def test_a_whisper_folder_says_what_its_own_decoder_finds_most_likely(tmp_path: Path, language: str | None) -> None:
    save_whisper(tmp_path / "w")
    params = TranscribeParams(kind="whisper", source="w", language=language)
    whisper = Whisper(params, find_files("w", None, None, tmp_path))
    wave = Waveform((0.1 * np.random.default_rng(2).standard_normal(2 * RATE)).astype(np.float32), RATE)
    heard = whisper.hear(wave)
    assert len(heard.tokens) >= 3
    assert len(heard.log_probabilities) == len(heard.tokens) + (not heard.capped)
    model, known = whisper._model, whisper._model.generation_config
    start = [known.decoder_start_token_id]
    if language is not None:
        start += [known.lang_to_id[f"<|{language}|>"], known.task_to_id["transcribe"], known.no_timestamps_token_id]
        features = whisper._processor(wave.samples, sampling_rate=RATE, return_tensors="pt").input_features
        given = torch.tensor([[*start, *heard.tokens]])
        with torch.inference_mode():
            logits = model(input_features=features, decoder_input_ids=given).logits[0, len(start) - 1 :]
        assert logits.argmax(-1)[: len(heard.tokens)].tolist() == list(heard.tokens)
        expected = logits.log_softmax(-1).max(-1).values[: len(heard.log_probabilities)]
        assert np.allclose(expected.numpy(), heard.log_probabilities, atol=1e-4)


def test_what_a_random_whisper_says_is_not_believed_and_its_files_are_recorded(tmp_path: Path) -> None:
    save_whisper(tmp_path / "w")
    transcriber = transcriber_called("w", tmp_path)
    spec = transcriber.spec
    assert (spec.kind, spec.source) == ("whisper", "w")
    assert {"weights", "config.json", "tokenizer.json", "silero_vad_16k.safetensors"} <= set(spec.files)
    save_whisper(tmp_path / "w", seed=8)
    assert transcriber_called("w", tmp_path).spec.fingerprint != spec.fingerprint


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(LsgmerError, match="neither moonshine nor a folder"):
        transcriber_called("nowhere", tmp_path)
    save_whisper(tmp_path / "w")
    with pytest.raises(LsgmerError, match="does not know the language 'de'"):
        build_transcriber(TranscribeParams(kind="whisper", source="w", language="de"), tmp_path)
    (tmp_path / "w" / "model.safetensors").unlink()
    with pytest.raises(LsgmerError, match=r"no model\.safetensors"):
        transcriber_called("w", tmp_path)
