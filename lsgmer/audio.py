"""Reading audio: any file that libsndfile reads, as mono float32, or the reason why it cannot be used.

Imports only numpy and soundfile, so that worker processes start fast; `resample` alone needs torch.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import soundfile

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Seconds


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono float32 samples (N,) in [-1, 1] and their rate in Hz."""

    samples: np.ndarray[Any, Any]
    sample_rate: int

    @property
    def duration_s(self) -> Seconds:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


CUT_TOLERANCE_S = 0.1  # tables round: an end at most this far past the recording's end counts as its end
FLOOR_DB = -120.0  # reported for digital silence, whose level is minus infinity
SILENCE_DBFS = -60.0
SILENCE_FRAME_S = 0.02
CLIPPED = 0.999
BLOCK_FRAMES = 1 << 18
CANCEL, DIFFER = (
    -0.5,
    0.2,
)  # below these, what `_mixing` measures is worth a look
Samples = np.ndarray[Any, Any]


class AudioError(LsgmerError):
    """Audio that cannot be used. `reason` is the message without the file's name, equal on every machine."""

    def __init__(self, source: Path | bytes, reason: str) -> None:
        self.reason = reason
        name = str(source) if isinstance(source, Path) else "audio"
        super().__init__(f"{name}: {reason}")


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What is known about one utterance's audio, after its cut; None where it could not be determined.

    Frames count per channel. `sha256` is of the decoded samples and their rate, so that a copy in another container is
    still a copy. Of one channel they are the facts of a recording of that channel alone, but `channels` counts those of
    the file. `mixing` says what is lost where several are mixed: "cancel" where they cancel out, "differ" where they
    have little in common, as with a person on each. `rms_db` and the silence threshold are relative to full scale;
    `peak` is in [0, 1]; the shares are of all frames. `error` is why the audio cannot be used, or None.
    """

    sample_rate: int | None = None
    channels: int | None = None
    header_frames: int | None = None
    decoded_frames: int | None = None
    duration_s: Seconds | None = None
    rms_db: float | None = None
    peak: float | None = None
    clipping_share: float | None = None
    silence_share: float | None = None
    sha256: str | None = None
    error: str | None = None
    mixing: str | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """Samples (N, channels) as read, or (N, 1) of one channel; the frames that the header promised within the cut."""

    samples: Samples
    sample_rate: int
    header_frames: int
    channels: int


def decode(
    source: Path | bytes, start_s: Seconds | None = None, end_s: Seconds | None = None, channel: int | None = None
) -> Waveform:
    """Return `source` (a file or a file's bytes) from `start_s` to `end_s` as mono: one channel, or the mean over all.

    Raises AudioError where there is no such channel, or the audio is missing, undecodable, empty, truncated (fewer
    frames decode than the header promises; detected for WAV, FLAC, OGG and MP3), not finite, or shorter than the cut.
    """
    try:
        reading = _read(source, start_s, end_s, channel)
        _check(reading)
    except _Unusable as error:
        raise AudioError(source, str(error)) from None
    return Waveform(_mono(reading.samples), reading.sample_rate)


def resample(wave: Waveform, rate: int) -> Waveform:
    """Return `wave` at `rate` Hz, by torchaudio's windowed-sinc interpolation; as it is if the rates agree."""
    if wave.sample_rate == rate:
        return wave
    import torch
    from torchaudio.functional import resample as sinc

    samples = sinc(torch.from_numpy(np.ascontiguousarray(wave.samples)), wave.sample_rate, rate)
    return Waveform(samples.numpy(), rate)


def facts(
    path: Path, start_s: Seconds | None = None, end_s: Seconds | None = None, channel: int | None = None
) -> AudioFacts:
    """Return the facts of `path` between `start_s` and `end_s`, of one channel or of all, mixed.

    Never raises for bad audio: `error` says why.
    """
    try:
        reading = _read(path, start_s, end_s, channel)
    except _Unusable as error:
        return AudioFacts(error=str(error))
    try:
        _check(reading)
        error_text = None
    except _Unusable as error:
        error_text = str(error)
    mono = _mono(reading.samples)
    known = _levels(mono, reading.sample_rate) if len(mono) and np.isfinite(mono).all() else {}
    return AudioFacts(
        sample_rate=reading.sample_rate,
        channels=reading.channels,
        header_frames=reading.header_frames,
        decoded_frames=len(mono),
        duration_s=len(mono) / reading.sample_rate,
        sha256=_content_sha256(reading),
        error=error_text,
        mixing=_mixing(reading.samples) if known else None,
        **known,
    )


class _Unusable(Exception):
    """Why audio cannot be used: `decode` turns it into an AudioError, `facts` into their `error`."""


def _read(source: Path | bytes, start_s: Seconds | None, end_s: Seconds | None, channel: int | None = None) -> _Reading:
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as stream:
            declared = _declared_wav_frames(stream)
            stream.seek(0)
            with soundfile.SoundFile(stream) as file:
                return _of_channel(_read_cut(file, declared, start_s, end_s), channel)
    except FileNotFoundError:
        raise _Unusable("missing: there is no such file") from None
    except IsADirectoryError:
        raise _Unusable("undecodable: this is a folder, not a file") from None
    except soundfile.LibsndfileError as error:
        raise _Unusable(f"undecodable: {_said(error)}; WAV, FLAC, OGG, Opus and MP3 are read") from None
    except OSError as error:
        raise _Unusable(f"unreadable: {error.strerror}") from None


def _read_cut(file: Any, declared: int | None, start_s: Seconds | None, end_s: Seconds | None) -> _Reading:
    """Read the cut from an open soundfile.SoundFile; `declared` corrects libsndfile's count of frames."""
    rate: int = file.samplerate
    length = int(file.frames) if declared is None else declared
    try:
        first, last = _cut(length, rate, start_s, end_s)
        if first:
            file.seek(min(first, int(file.frames)))
        return _Reading(_take(file, last - first), rate, last - first, int(file.channels))
    except soundfile.LibsndfileError as error:
        raise _Unusable(f"undecodable: {_said(error)}, after a good header") from None


def _of_channel(reading: _Reading, channel: int | None) -> _Reading:
    if channel is None:
        return reading
    if not 0 <= channel < reading.channels:
        has = (
            "1 channel, number 0"
            if reading.channels == 1
            else f"{reading.channels} channels, 0 to {reading.channels - 1}"
        )
        raise _Unusable(f"channel: there is no channel {channel}; the recording has {has}")
    return replace(reading, samples=reading.samples[:, channel : channel + 1])


def _take(file: Any, count: int) -> Samples:
    """Return up to `count` frames, block by block, so that a header with a false length allocates no memory."""
    blocks = [np.zeros((0, file.channels), np.float32)]
    while count > 0 and len(block := file.read(min(count, BLOCK_FRAMES), dtype="float32", always_2d=True)):
        blocks.append(block)
        count -= len(block)
    return np.concatenate(blocks)


def _said(error: Any) -> str:
    said = str(error.error_string).strip().rstrip(".")
    # libsndfile says this of an MP3 truncated before its first whole frame; the file exists, since we opened it.
    return "no whole frame in it" if said.startswith("File does not exist") else said


def _cut(length: int, rate: int, start_s: Seconds | None, end_s: Seconds | None) -> tuple[int, int]:
    """Return the first frame and the one after the last."""
    first = 0 if start_s is None else round(start_s * rate)
    last = length if end_s is None else round(end_s * rate)
    if first < 0 or (end_s is not None and last <= first):
        raise _Unusable(f"cut: start {start_s} s and end {end_s} s enclose nothing")
    if (first > 0 and first >= length) or last > length + CUT_TOLERANCE_S * rate:
        raise _Unusable(f"cut: from {start_s or 0} s to {end_s} s, but the recording is {length / rate:.2f} s long")
    return first, min(last, length)


def _check(reading: _Reading) -> None:
    decoded = len(reading.samples)
    if decoded < reading.header_frames:
        raise _Unusable(f"truncated: the header promises {reading.header_frames} frames, {decoded} decode")
    if not decoded:
        raise _Unusable("empty: no frames")
    if not np.isfinite(reading.samples).all():
        raise _Unusable("not finite: some samples are NaN or infinite")


def _declared_wav_frames(stream: IO[bytes]) -> int | None:
    """Return the frames that a RIFF/WAVE header promises; None for other formats or when it does not say.

    libsndfile silently lowers its own count to what a truncated file holds.
    """
    if (head := stream.read(12))[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    block = 0
    while len(chunk := stream.read(8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            # Programs that stream, and never come back to fill in the size, write 0 or one of the largest numbers.
            return size // block if block and 0 < size < 0x7FFF_F000 else None
        body = stream.read(size) if name == b"fmt " else b""
        if name == b"fmt " and len(body) >= 16:
            tag, block = struct.unpack_from("<H", body)[0], struct.unpack_from("<H", body, 12)[0]
            if tag not in (1, 3, 6, 7, 0xFFFE):  # in compressed formats a block is more than one frame
                return None
        stream.seek(size % 2 + (0 if body else size), io.SEEK_CUR)
    return None


def _mono(samples: Samples) -> Samples:
    """Return the mean over the channels, (N,) float32, of samples (N, channels)."""
    return samples[:, 0] if samples.shape[1] == 1 else cast(Samples, samples.mean(axis=1, dtype=np.float32))


def _mixing(samples: Samples) -> str | None:
    """Return what mixing samples (N, C) loses, None for nothing or one channel.

    The mix has the share r of the channels' mean power: 1 where they are alike, 1 / C where they have nothing in common
    or only one is not silent, 0 where they cancel out. (r - 1 / C) / (1 - 1 / C) is the mean correlation where all are
    equally loud.
    """
    count = samples.shape[1]
    power = float(np.square(samples, dtype=np.float64).mean())
    if count == 1 or power < 10 ** (SILENCE_DBFS / 10):
        return None
    alike = 1 / count
    kept = (float(np.square(_mono(samples), dtype=np.float64).mean()) / power - alike) / (1 - alike)
    return "cancel" if kept < CANCEL else "differ" if kept < DIFFER else None


def _levels(mono: Samples, rate: int) -> dict[str, float]:
    frame = max(1, round(SILENCE_FRAME_S * rate))
    power = np.square(mono, dtype=np.float64)
    edges = np.arange(0, len(mono), frame)
    frames_power = np.add.reduceat(power, edges) / np.diff(np.append(edges, len(mono)))
    peak = np.abs(mono)
    return {
        "rms_db": max(FLOOR_DB, 10 * math.log10(max(float(power.mean()), 1e-30))),
        "peak": float(peak.max()),
        "clipping_share": float((peak >= CLIPPED).mean()),
        "silence_share": float((frames_power < 10 ** (SILENCE_DBFS / 10)).mean()),
    }


def _content_sha256(reading: _Reading) -> str:
    content = np.ascontiguousarray(reading.samples, dtype="<f4").tobytes()
    return hashlib.sha256(f"{reading.sample_rate}:{reading.samples.shape[1]}:".encode() + content).hexdigest()
