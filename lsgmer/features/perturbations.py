"""What real recordings and transcripts suffer, done to clean ones: pure functions, the same bytes for the same seed."""

from __future__ import annotations

import io
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soundfile

from lsgmer.audio import Waveform, decode, resample

Array = np.ndarray[Any, Any]
Generator = np.random.Generator
AudioChange = Callable[[Waveform, Generator], Waveform]
TextChange = Callable[[str, Generator, Sequence[str]], str]
TELEPHONE_HZ = 8000
MU = 255.0
WORD_ERRORS = 0.15
OPUS_HZ = 48_000
CODEC_SPAN = 4096  # soundfile's Ogg writers need long audio in pieces


def gain(decibels: float) -> AudioChange:
    """Return a change of level; what goes beyond full scale is clipped."""
    factor = 10 ** (decibels / 20)
    return lambda wave, _: _like(wave, np.clip(wave.samples * factor, -1, 1))


def pink_noise(snr_db: float) -> AudioChange:
    """Return pink noise (power falls by 3 dB an octave), `snr_db` under the recording's mean power."""

    def add(wave: Waveform, generator: Generator) -> Waveform:
        count = len(wave.samples)
        spectrum = np.fft.rfft(generator.standard_normal(count))
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        spectrum[0] = 0  # no constant offset
        noise = np.fft.irfft(spectrum, count)
        power, wanted = np.mean(noise**2), np.mean(wave.samples.astype(np.float64) ** 2) / 10 ** (snr_db / 10)
        return _like(wave, np.clip(wave.samples + noise * np.sqrt(wanted / max(power, 1e-30)), -1, 1))

    return add


def narrow_band(wave: Waveform, generator: Generator) -> Waveform:
    """Return what is left at a sample rate of 8 kHz: nothing above 4 kHz."""
    return resample(resample(wave, TELEPHONE_HZ), wave.sample_rate)


def telephone(wave: Waveform, generator: Generator) -> Waveform:
    """Return what is left of a telephone call: 8 kHz and 8 bits by the mu-law (ITU-T G.711)."""
    narrow = resample(wave, TELEPHONE_HZ)
    samples = np.clip(narrow.samples.astype(np.float64), -1, 1)
    compressed = np.sign(samples) * np.log1p(MU * np.abs(samples)) / np.log1p(MU)
    steps = np.round((compressed + 1) / 2 * MU) / MU * 2 - 1
    return resample(_like(narrow, np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(MU)) / MU), wave.sample_rate)


def codec(kind: str, subtype: str, rate: int | None = None) -> AudioChange:
    """Return a round trip through a lossy codec, at `rate` Hz where the codec takes few rates."""

    def there_and_back(wave: Waveform, generator: Generator) -> Waveform:
        given = wave if rate is None else resample(wave, rate)
        content = io.BytesIO()
        with soundfile.SoundFile(content, "w", given.sample_rate, 1, format=kind, subtype=subtype) as file:
            for start in range(0, len(given.samples), CODEC_SPAN):
                file.write(given.samples[start : start + CODEC_SPAN])
        return resample(decode(content.getvalue()), wave.sample_rate)

    return there_and_back


def clipping(wave: Waveform, generator: Generator) -> Waveform:
    """Return the recording as if taken at three times the level that fits: cut at a third of its peak."""
    most = float(np.abs(wave.samples).max(initial=0)) / 3
    return _like(wave, np.clip(wave.samples, -most, most))


def leading_silence(wave: Waveform, generator: Generator) -> Waveform:
    """Return the recording after a second of nothing."""
    return _like(wave, np.concatenate([np.zeros(wave.sample_rate, np.float32), wave.samples]))


def speed(factor: float) -> AudioChange:
    """Return the recording played `factor` times as fast: higher, and shorter."""
    return lambda wave, _: resample(Waveform(wave.samples, round(wave.sample_rate * factor)), wave.sample_rate)


def word_errors(text: str, generator: Generator, vocabulary: Sequence[str]) -> str:
    """Return the text as a recogniser with a word error rate of 15% might write it.

    A third each of the errors are omissions, other words and additional words, from `vocabulary`.
    """
    found: list[str] = []
    for word in text.split():
        kind = generator.choice(4, p=[1 - WORD_ERRORS, *[WORD_ERRORS / 3] * 3])
        other = str(generator.choice(vocabulary)) if kind > 1 else ""
        found += [[word], [], [other], [word, other]][kind]
    return " ".join(found) or text


def plain(text: str, generator: Generator, vocabulary: Sequence[str]) -> str:
    """Return the text as most recognisers write it: small letters, no punctuation but apostrophes."""
    unwanted = "".join(sorted({*string.punctuation, *"…–—“”„"} - {"'"}))
    return " ".join(text.lower().translate(str.maketrans(unwanted, " " * len(unwanted))).split()) or text


def capitals(text: str, generator: Generator, vocabulary: Sequence[str]) -> str:
    """Return the text in capitals."""
    return text.upper()


AUDIO: dict[str, AudioChange] = {
    "gain_down_12_db": gain(-12),
    "gain_up_6_db": gain(6),
    "noise_20_db": pink_noise(20),
    "noise_10_db": pink_noise(10),
    "narrow_band": narrow_band,
    "telephone": telephone,
    "mp3": codec("MP3", "MPEG_LAYER_III"),
    "opus": codec("OGG", "OPUS", OPUS_HZ),
    "clipping": clipping,
    "leading_silence": leading_silence,
    "slower_10": speed(0.9),
    "faster_10": speed(1.1),
}
TEXT: dict[str, TextChange] = {"word_errors_15": word_errors, "plain_text": plain, "capitals": capitals}


def _like(wave: Waveform, samples: Array) -> Waveform:
    return Waveform(samples.astype(np.float32), wave.sample_rate)
