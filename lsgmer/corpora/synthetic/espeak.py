"""eSpeak NG through ctypes: one utterance at a time, the same samples for the same settings and seed.

The library keeps hidden state from one utterance to the next (its random numbers, for one), so each is
spoken in a process forked for it, freshly initialised and seeded; the other utterances then have no effect.
API: https://github.com/espeak-ng/espeak-ng/blob/1.52.0/src/include/espeak-ng/speak_lib.h
"""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass
from typing import Any

import espeakng_loader
import numpy as np

from lsgmer.core.errors import LsgmerError

RETRIEVAL = 1  # AUDIO_OUTPUT_RETRIEVAL: samples go to the callback, not to a loudspeaker
DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
UTF8 = 1  # espeakCHARS_UTF8
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4  # espeak_PARAMETER
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
SAMPLE_RATE = 22_050  # of the packaged voices; checked on initialisation


@dataclass(frozen=True, slots=True)
class Speech:
    """What to say and how: rate in words a minute, volume 0 to 200, pitch and its range 0 to 100, 50 being usual.

    `voice` is an eSpeak language with a variant, as in "en-us+f3". `seed` drives eSpeak's own randomness.
    """

    text: str
    voice: str
    rate: int
    pitch: int
    pitch_range: int
    volume: int
    seed: int


def speak(speech: Speech) -> np.ndarray[Any, Any]:
    """Return int16 samples (N,) at `SAMPLE_RATE`. Call it from a process without threads.

    Raises LsgmerError when eSpeak has no such voice, fails, or says nothing.
    """
    library = _library()  # before the fork: loaded once, initialised only in a child
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(library, speech, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0 or len(content) < 2:
        why = content.decode(errors="replace") or f"exit {os.waitstatus_to_exitcode(status)}, nothing said"
        raise LsgmerError(f"eSpeak NG ({espeakng_loader.get_library_path()}) failed on {speech}: {why}")
    return np.frombuffer(content, np.int16)


def _answer(library: ctypes.CDLL, speech: Speech, write_end: int) -> None:
    """In the child: write the samples, or why there are none, and exit without running the parent's exit handlers."""
    status = 1
    try:
        with os.fdopen(write_end, "wb") as pipe:
            try:
                pipe.write(_synthesise(library, speech))
                status = 0
            except (RuntimeError, OSError, AttributeError) as error:
                pipe.write(str(error).encode())
    finally:
        os._exit(status)


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(espeakng_loader.get_library_path())


def _synthesise(library: ctypes.CDLL, speech: Speech) -> bytes:
    data = os.fsencode(espeakng_loader.get_data_path())
    if library.espeak_Initialize(RETRIEVAL, 0, data, DONT_EXIT) != SAMPLE_RATE:
        raise RuntimeError("initialisation failed")
    _expect(library.espeak_ng_SetRandSeed(ctypes.c_long(speech.seed)))
    blocks: list[bytes] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            blocks.append(ctypes.string_at(samples, count * 2))
        return 0

    callback = CALLBACK(collect)  # named: it must live as long as eSpeak may call it
    library.espeak_SetSynthCallback(callback)
    _expect(library.espeak_SetVoiceByName(speech.voice.encode()))
    settings = {RATE: speech.rate, VOLUME: speech.volume, PITCH: speech.pitch, RANGE: speech.pitch_range}
    for parameter, value in settings.items():
        _expect(library.espeak_SetParameter(parameter, value, 0))
    text = speech.text.encode()
    _expect(library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, UTF8, None, None))
    _expect(library.espeak_Synchronize())
    return b"".join(blocks)


def _expect(code: int) -> None:
    if code != 0:
        raise RuntimeError(f"eSpeak NG returned {code}")
