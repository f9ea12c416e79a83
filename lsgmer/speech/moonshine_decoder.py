"""English words from the speech recogniser inside the moonshine-voice package: its encoder, decoder and tokenizer."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import TranscriberSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.moonshine import NEEDS, PACKAGED, SAMPLE_RATE, SHORTEST, WEIGHTS_SHA256, session
from lsgmer.encoders.weights import package_file
from lsgmer.speech.rejection import DOUBT, MIN_LOG_PROBABILITY, Heard, token_cap

FOLDER = PACKAGED.rpartition("/")[0]
FILES = {
    "encoder_model.ort": WEIGHTS_SHA256,
    "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}
START, END = 1, 2
LAYERS, HEADS, HEAD_SIZE = 6, 8, 36
SPACE = "\u2581"

Array = np.ndarray[Any, Any]


class MoonshineDecoder:
    """Moonshine tiny (English, MIT), greedily, in one thread on the CPU: the same samples give the same words.

    It hears words in anything, so what it is given should be speech, and what it says should be checked: see
    `rejection`.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, min_log_probability: float | None = None) -> None:
        if missing := [name for name in NEEDS if find_spec(name) is None]:
            raise LsgmerError(
                f"transcribe: moonshine needs {' and '.join(missing)}: pip install 'lsgmer[moonshine]' (wheels are for "
                "Linux with glibc 2.34, macOS 15 on arm64, and Windows), or name the folder of a Whisper model instead"
            )
        encoder, decoder, tokenizer = (_checked(name) for name in FILES)
        self._encoder, self._decoder = session(str(encoder)), session(str(decoder))
        self._pieces = read_tokenizer(tokenizer.read_bytes())
        self._outputs = [output.name for output in self._decoder.get_outputs()]
        self.spec = TranscriberSpec(
            kind="moonshine",
            language="en",
            min_log_probability=min_log_probability or MIN_LOG_PROBABILITY,
            doubt=DOUBT,
            files=FILES,
            versions=library_versions(("onnxruntime", "numpy", "torch", "torchaudio")),
        )

    def hear(self, wave: Waveform) -> Heard:
        """Return the words in `wave`, at 16 kHz, with the log-probability of each token.

        It stops at `rejection.token_cap` tokens, which speech does not reach.
        """
        samples = wave.samples
        values = np.pad(samples.astype(np.float32), (0, max(0, SHORTEST - len(samples))))[None]
        mask = np.ones(values.shape, dtype=np.int64)
        (frames,) = self._encoder.run(None, {"input_values": values, "attention_mask": mask})
        fixed = {"encoder_hidden_states": frames, "encoder_attention_mask": mask}
        tokens: list[int] = []
        scores: list[float] = []
        kept, token, cap = _empty_cache(), START, token_cap(wave.duration_s)
        while len(tokens) < cap:
            first = not scores
            inputs = {**fixed, **kept, "input_ids": np.array([[token]]), "use_cache_branch": np.array([not first])}
            found = dict(zip(self._outputs, self._decoder.run(None, inputs), strict=True))
            logits = found["logits"][0, -1].astype(np.float64)
            token = int(logits.argmax())
            scores.append(float(-np.log(np.exp(logits - logits[token]).sum())))
            if token == END:
                break
            tokens.append(token)
            for name, value in found.items():  # the encoder's keys and values are made in the first step alone
                if name.startswith("present.") and (first or ".decoder." in name):
                    kept[name.replace("present", "past_key_values")] = value
        return Heard(self._text(tokens), tuple(tokens), tuple(scores), capped=token != END)

    def _text(self, tokens: list[int]) -> str:
        return b"".join(self._pieces[token] for token in tokens).decode(errors="replace").replace(SPACE, " ").strip()


def read_tokenizer(content: bytes) -> list[bytes]:
    """Return the bytes of each token, by id: each is preceded by its length, of two bytes from 128 on.

    Tokens that stand for no text are empty, and one such as <0x0A> is that byte.
    """
    found, place = [], 0
    while place < len(content):
        length = content[place]
        place += 1
        if length >= 128:
            length += 128 * content[place] - 128
            place += 1
        found.append(_bytes_of(content[place : place + length]))
        place += length
    return found


def _bytes_of(piece: bytes) -> bytes:
    if piece.startswith(b"<0x") and piece.endswith(b">") and len(piece) == 6:
        return bytes([int(piece[3:5], 16)])
    return b"" if piece.startswith(b"<") and piece.endswith(b">") and len(piece) > 2 else piece


@cache
def _checked(name: str) -> Path:
    path = package_file(f"{FOLDER}/{name}")
    if (found := file_sha256(path)) != FILES[name]:
        raise LsgmerError(f"{path}: sha256 is {found}, expected {FILES[name]}; install moonshine-voice 0.1.0")
    return path


def _empty_cache() -> dict[str, Array]:
    empty = np.zeros((1, HEADS, 0, HEAD_SIZE), dtype=np.float32)
    return {
        f"past_key_values.{layer}.{side}.{part}": empty
        for layer in range(LAYERS)
        for side in ("decoder", "encoder")
        for part in ("key", "value")
    }
