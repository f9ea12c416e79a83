"""Reading audio: any file that libsndfile reads, as mono float32, or the reason why it cannot be used.

Imports only numpy and soundfile, so that worker processes start fast; `resample` alone needs torch.
"""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile

from lsgmer import containers
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Record, Seconds


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
EMBEDDED = re.compile(r"\.parquet#[^#]+#[0-9]+$")  # a recording inside a table
MOST_EMBEDDED_BYTES = 64 * 2**20
READ = "WAV, FLAC, OGG, Opus and MP3 are read"
MOSTLY_CLIPPED = 0.5
OVERLONG = 2.0
BLOCK_FRAMES = 1 << 18
PCM_16_STEPS = 1 << 15  # of full scale in 16-bit samples
UNKNOWN_FRAMES = 1 << 40  # libsndfile gives such a length to a FLAC whose header has none
MAX_PEAK = 8.0  # lossy codecs and resampling overshoot 1, never by 18 dB
MEANINGLESS = ("not finite", "out of range", "constant", "channels cancel out", "too long", "empty")
CANCELLED = 1e-3  # of the channels' energy is left in their mean
CANCEL, DIFFER = -0.5, 0.2  # below these, what `_mixing` measures is worth a look
Samples = np.ndarray[Any, Any]


class OutOfLimits(LsgmerError):
    """Audio that can be read, and is unlike what the model was trained on: nothing should be concluded from it."""


class AudioError(LsgmerError):
    """Audio that cannot be used. `reason` is the message without the file's name, equal on every machine.

    `readable` is whether it was decoded: then its content is at fault, not its form.
    """

    def __init__(self, source: Path | bytes, reason: str) -> None:
        self.reason = reason
        self.readable = reason.partition(":")[0] in MEANINGLESS
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


@dataclass(frozen=True, slots=True)
class _Open:
    """An opened stream: the decoder, and how many frames it has (None: nobody knows before the end)."""

    file: Any
    length: int | None
    spare: int

    @property
    def form(self) -> tuple[int, int]:
        """Sample rate and channels."""
        return self.file.samplerate, self.file.channels


def decode(
    source: Path | bytes,
    start_s: Seconds | None = None,
    end_s: Seconds | None = None,
    channel: int | None = None,
    limit_s: Seconds | None = None,
) -> Waveform:
    """Return `source` (a file or a file's bytes) from `start_s` to `end_s` as mono: one channel, or the mean over all.

    Streams that were joined in one file are read one after another. Audio of more than `limit_s` is not decoded.

    Raises AudioError where there is no such channel, or the audio is missing, undecodable, empty, truncated (fewer
    frames decode than the header promises), longer than the limit, shorter than the cut, or has samples that mean
    nothing: see `unusable`.
    """
    try:
        reading = _read(source, start_s, end_s, channel, limit_s)
        _check(reading)
    except _Unusable as error:
        raise AudioError(source, str(error)) from None
    return Waveform(_mono(reading.samples), reading.sample_rate)


def lossless_cut(
    source: Path | bytes, start_s: Seconds | None = None, end_s: Seconds | None = None, channel: int | None = None
) -> bytes:
    """Return a stretch of `source` as a WAV file with the very samples that `decode` would read: one channel, or all.

    For audio that is sent elsewhere, where no more is needed. Raises AudioError as `decode` does.
    """
    try:
        reading = _read(source, start_s, end_s, channel)
        _check(reading)
    except _Unusable as error:
        raise AudioError(source, str(error)) from None
    steps = reading.samples * np.float32(PCM_16_STEPS)  # a power of two: exact
    is_pcm_16 = bool((steps == np.round(steps)).all() and steps.min() >= -PCM_16_STEPS and steps.max() < PCM_16_STEPS)
    samples = steps.astype(np.int16) if is_pcm_16 else reading.samples
    file = io.BytesIO()
    soundfile.write(file, samples, reading.sample_rate, "PCM_16" if is_pcm_16 else "FLOAT", format="WAV")
    return file.getvalue()


def channel_to_read(source: Path | bytes, given: int | None, usual: int | None) -> int | None:
    """Return the channel that is `given`, or else, of audio with several, the `usual` one. Raises AudioError."""
    if given is not None or usual is None:
        return given
    return usual if form(source)[1] > 1 else None


def form(source: Path | bytes) -> tuple[int, int]:
    """Return the sample rate in Hz and the number of channels, from the header. Raises AudioError."""
    try:
        with _opened(source) as parts:
            return parts[0].form
    except _Unusable as error:
        raise AudioError(source, str(error)) from None


def blocks(source: Path | bytes) -> Iterator[Samples]:
    """Yield the samples (N, channels) of a recording of any length, piece by piece. Raises AudioError on the way.

    A recording that ends before its header says so simply ends: compare with `length`.
    """
    try:
        with _opened(source) as parts:
            if len({part.form for part in parts}) > 1:
                raise _Unusable("undecodable: several recordings of different forms in one file; separate them")
            for part in parts:
                left = math.inf if part.length is None else part.length
                while left > 0 and len(block := _take(part, min(left, BLOCK_FRAMES))):
                    left -= len(block)
                    yield block
    except soundfile.LibsndfileError as error:
        raise AudioError(source, f"undecodable: {_said(error)}, after a good header") from None
    except _Unusable as error:
        raise AudioError(source, str(error)) from None


def length(source: Path | bytes) -> int | None:
    """Return how many frames the header promises, None where nobody knows before the end. Raises AudioError."""
    try:
        with _opened(source) as parts:
            return None if None in (found := [part.length for part in parts]) else sum(map(int, cast(list[int], found)))
    except _Unusable as error:
        raise AudioError(source, str(error)) from None


def read_frames(source: Path, start_s: Seconds, end_s: Seconds) -> Samples:
    """Return all channels (N, channels) from `start_s` to `end_s`, fewer if it ends before. Raises AudioError."""
    try:
        return _read(source, start_s, end_s, None).samples
    except _Unusable as error:
        raise AudioError(source, str(error)) from None


def can_seek(source: Path) -> bool:
    """Return whether a cut of the recording is read without decoding what is before it. Raises AudioError."""
    try:
        with _opened(source) as parts:
            return len(parts) == 1 and bool(parts[0].file.seekable())
    except _Unusable as error:
        raise AudioError(source, str(error)) from None


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


class AudioLimits(Record):
    """What training demanded of its recordings: validation quarantines others, and predictions are refused for them.

    Seconds, shares of all frames, Hz; the names are those of the section `validate` of params.yaml.
    """

    min_duration_s: Seconds
    max_duration_s: Seconds
    max_silence_share: float
    max_clipping_share: float
    min_sample_rate: int

    def breaches(self, known: Mapping[str, Any]) -> dict[str, str]:
        """Return what is wrong with audio of these facts (`sample_rate`, `duration_s`, ...), by the rule it breaks."""
        rate, duration = known["sample_rate"], known["duration_s"]
        silent, clipped = known["silence_share"], known["clipping_share"]
        found = {}
        if rate < self.min_sample_rate:
            limit = f"validate.min_sample_rate ({self.min_sample_rate} Hz)"
            found["sample_rate"] = f"sample rate {rate:.0f} Hz is under {limit}"
        if duration < self.min_duration_s:
            limit = f"validate.min_duration_s ({self.min_duration_s:g} s)"
            found["duration"] = f"too short: {duration:.2f} s is under {limit}"
        if duration > self.max_duration_s:
            limit = f"validate.max_duration_s ({self.max_duration_s:g} s)"
            found["duration"] = f"too long: {duration:.2f} s is over {limit}"
        if silent > self.max_silence_share:
            limit = f"validate.max_silence_share ({self.max_silence_share:g})"
            found["silence"] = f"silent: {silent:.0%} of it is over {limit}"
        if clipped > self.max_clipping_share:
            limit = f"validate.max_clipping_share ({self.max_clipping_share:g})"
            found["clipping"] = f"clipped: {clipped:.0%} of it is over {limit}"
        return found

    @property
    def most_s(self) -> Seconds:
        """How long audio may be to be predicted with a warning."""
        return OVERLONG * self.max_duration_s

    def check(self, wave: Waveform) -> tuple[str, ...]:
        """Return warnings about audio that is a little outside; raise OutOfLimits, which names the limit, beyond that.

        Longer audio, up to twice the limit, and clipped audio still carry an emotion. Audio that is silent, too short
        or of too low a rate does not.
        """
        duration, levels = wave.duration_s, _levels(wave.samples, wave.sample_rate) if len(wave.samples) else {}
        known = {"sample_rate": wave.sample_rate, "duration_s": duration, "silence_share": 1.0, "clipping_share": 0.0}
        known |= levels
        found = self.breaches(known)
        tolerated = {"clipping"} if known["clipping_share"] <= MOSTLY_CLIPPED else set()
        if self.max_duration_s < duration <= self.most_s:
            tolerated.add("duration")
        if refused := [reason for rule, reason in found.items() if rule not in tolerated]:
            raise OutOfLimits(f"audio: {refused[0]}, which the training data obeyed: no emotion is estimated from it")
        return tuple(f"audio: {reason}" for reason in found.values())


def limits_in(validate: Mapping[str, Any]) -> AudioLimits:
    """Return the limits among the values of a section `validate`."""
    return AudioLimits.model_validate({name: validate[name] for name in AudioLimits.model_fields})


class _Unusable(Exception):
    """Why audio cannot be used: `decode` turns it into an AudioError, `facts` into their `error`."""


def _read(
    source: Path | bytes,
    start_s: Seconds | None,
    end_s: Seconds | None,
    channel: int | None,
    limit_s: Seconds | None = None,
) -> _Reading:
    with _opened(source) as parts:
        forms = {part.form for part in parts}
        if len(forms) > 1:
            told = " and ".join(f"{rate} Hz with {channels} channel(s)" for rate, channels in sorted(forms))
            raise _Unusable(f"undecodable: several recordings in one file, of {told}; separate them")
        return _of_channel(_read_cut(parts, start_s, end_s, limit_s), channel)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[list[_Open]]:
    """Yield every stream of `source`, opened. Raises _Unusable for whatever cannot be opened or read."""
    try:
        with ExitStack() as stack:
            yield _open(source, stack)
    except FileNotFoundError:
        raise _Unusable("missing: there is no such file") from None
    except IsADirectoryError:
        raise _Unusable("undecodable: this is a folder, not a file") from None
    except soundfile.LibsndfileError as error:
        raise _Unusable(f"undecodable: {_said(error)}; {READ}") from None
    except OSError as error:
        raise _Unusable(f"unreadable: {error.strerror}") from None


def _open(source: Path | bytes, stack: ExitStack) -> list[_Open]:
    """Open every stream of `source`, to be closed by `stack`. A file that is one stream is not read into memory."""
    if isinstance(source, Path) and EMBEDDED.search(source.name) and not source.exists():
        source = _embedded(source)
    if isinstance(source, bytes):
        if not source:
            raise _Unusable("empty: the file has no bytes")
        view: Any = source
        parts = containers.streams(source)
    else:
        stream = stack.enter_context(source.open("rb"))
        size = os.fstat(stream.fileno()).st_size
        if not size:
            raise _Unusable("empty: the file has no bytes")
        view = stack.enter_context(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        parts = _streams_of(source, size, source.stat().st_mtime_ns)
    whole = len(parts) == 1 and not parts[0].start and not parts[0].prefix
    opened = []
    for part in parts:
        given = io.BytesIO(source) if isinstance(source, bytes) else stack.enter_context(source.open("rb"))
        content = given if whole else io.BytesIO(part.prefix + view[part.start : part.end])
        file = stack.enter_context(soundfile.SoundFile(content))
        if file.format == "MP3" or file.frames > UNKNOWN_FRAMES:
            # soundfile seeks after every block. An MP3's decoder then forgets the frames that the next ones need, and
            # a FLAC from a pipe, without length or seek table, cannot be sought at all.
            file._info.seekable = 0
        known = int(file.frames) if part.frames is None else part.frames
        opened.append(_Open(file, known if known < UNKNOWN_FRAMES else None, part.spare))
    return opened


def _embedded(source: Path) -> bytes:
    """Return the recording in a row of a Parquet table, TABLE.parquet#COLUMN#ROW, the first row being 1."""
    table, column, row = source.name.rsplit("#", 2)
    path = source.with_name(table)
    if not path.is_file():
        raise _Unusable("missing: there is no such table")
    found = _cell(path, path.stat().st_mtime_ns, column, int(row) - 1)
    if found is None:
        raise _Unusable("missing: the table's cell holds no recording")
    if len(found) > MOST_EMBEDDED_BYTES:
        raise _Unusable(f"too long: {len(found)} bytes in a cell, at most {MOST_EMBEDDED_BYTES} are read")
    return found


def _cell(path: Path, changed_ns: int, column: str, row: int) -> bytes | None:
    """Return the bytes of a recording in row `row`, from 0, of a table; None where there are none."""
    import pyarrow

    try:
        for group, count in enumerate(_group_rows(path, changed_ns)):
            if row < count:
                cell = _group(path, changed_ns, column, group).column(0)[row].as_py()
                return None if cell is None else cast(bytes | None, cell["bytes"])
            row -= count
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise _Unusable(f"undecodable: {str(error).splitlines()[0]}") from None
    return None


@lru_cache(maxsize=16)
def _group_rows(path: Path, changed_ns: int) -> tuple[int, ...]:
    from pyarrow import parquet

    metadata = parquet.ParquetFile(path).metadata
    return tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))


@lru_cache(maxsize=1)
def _group(path: Path, changed_ns: int, column: str, group: int) -> Any:
    """Return the recordings of one row group, which is what Parquet reads at once."""
    from pyarrow import parquet

    return parquet.ParquetFile(path).read_row_group(group, columns=[f"{column}.bytes"])


@lru_cache(maxsize=16)
def _streams_of(path: Path, size: int, changed_ns: int) -> tuple[containers.Stream, ...]:
    """Return the streams of a file, once for all cuts of one recording."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return containers.streams(view)


def _read_cut(
    opened: Sequence[_Open], start_s: Seconds | None, end_s: Seconds | None, limit_s: Seconds | None
) -> _Reading:
    """Read the cut from streams that follow one another."""
    rate, channels = opened[0].form
    lengths = [part.length for part in opened]
    length = None if None in lengths else sum(cast(int, n) for n in lengths)
    try:
        first, last = _cut(length, rate, start_s, end_s)
        budget = math.inf if limit_s is None else int(limit_s * rate) + 1  # one frame more says that it is too long
        if last is not None and last - first >= budget:
            raise _Unusable(f"too long: {(last - first) / rate:.1f} s, at most {limit_s:.0f} s are read")
        blocks = [np.zeros((0, channels), np.float32)]
        for part in opened:
            skipped = first if part.length is None else min(first, part.length)
            if skipped and not part.file.seekable():
                _take(part, skipped)
            elif skipped:
                part.file.seek(min(skipped, int(part.file.frames)))
            first -= skipped
            left = None if last is None else last - skipped
            taken = _take(part, min(budget, math.inf if left is None else left))
            budget -= len(taken)
            if budget <= 0:
                raise _Unusable(f"too long: over {limit_s:.0f} s, which is all that is read")
            last = None if left is None else left - len(taken)
            blocks.append(taken)
            if last is not None and last <= 0:
                break
    except soundfile.LibsndfileError as error:
        raise _Unusable(f"undecodable: {_said(error)}, after a good header") from None
    samples = np.concatenate(blocks)
    lacking = 0 if last is None or last <= opened[-1].spare else last
    return _Reading(samples, rate, len(samples) + lacking, channels)


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


def _take(part: _Open, count: float) -> Samples:
    """Return up to `count` frames, block by block, so that a header with a false length allocates no memory."""
    blocks = [np.zeros((0, part.file.channels), np.float32)]
    taken = 0
    while taken < count:
        size = int(min(count - taken, BLOCK_FRAMES))
        block = part.file.read(size, dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block)
        taken += len(block)
    return np.concatenate(blocks)


def _said(error: Any) -> str:
    said = str(error.error_string).strip().rstrip(".")
    # libsndfile says this of an MP3 truncated before its first whole frame; the file exists, since we opened it.
    return "no whole frame in it" if said.startswith("File does not exist") else said


def _cut(length: int | None, rate: int, start_s: Seconds | None, end_s: Seconds | None) -> tuple[int, int | None]:
    """Return the first frame and the one after the last; None is the end of a recording of unknown length."""
    first = 0 if start_s is None else round(start_s * rate)
    last = length if end_s is None else round(end_s * rate)
    if first < 0 or (end_s is not None and last is not None and last <= first):
        raise _Unusable(f"cut: start {start_s} s and end {end_s} s enclose nothing")
    if length is None or last is None:
        return first, last
    if (first > 0 and first >= length) or last > length + CUT_TOLERANCE_S * rate:
        raise _Unusable(f"cut: from {start_s or 0} s to {end_s} s, but the recording is {length / rate:.2f} s long")
    return first, min(last, length)


def _check(reading: _Reading) -> None:
    decoded = len(reading.samples)
    if decoded < reading.header_frames:
        raise _Unusable(f"truncated: the header promises {reading.header_frames} frames, {decoded} decode")
    if not decoded:
        raise _Unusable("empty: no frames")
    if reason := unusable(reading.samples):
        raise _Unusable(reason)


def unusable(samples: Samples) -> str | None:
    """Return why samples (N, channels) mean nothing as sound, or None.

    They are not finite, far out of range (integers that were written as floats), all equal, or the channels cancel.
    """
    if not np.isfinite(samples).all():
        return "not finite: some samples are NaN or infinite"
    low, high = float(samples.min()), float(samples.max())
    peak = max(-low, high)
    if peak > MAX_PEAK:
        return (
            f"out of range: samples reach {peak:.6g}, and floats should lie in [-1, 1]; divide 16-bit values by 32768, "
            "and export the recording again where they are no sound at all"
        )
    if len(samples) > 1 and low == high and low:
        return f"constant: every sample is {low:.3g}, so there is no sound in it; export the recording again"
    if samples.shape[1] > 1:
        apart = float(np.square(samples, dtype=np.float64).mean())
        mixed = float(np.square(_mono(samples), dtype=np.float64).mean())
        if apart > 10 ** (SILENCE_DBFS / 10) and mixed < CANCELLED * apart:
            return (
                f"channels cancel out: their mean keeps {mixed / apart:.2%} of the energy, as where one is the other "
                "inverted; name one (channel)"
            )
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
    swing = np.square(mono - mono.mean(dtype=np.float64))  # a constant offset is no sound
    frames_power = np.add.reduceat(swing, edges) / np.diff(np.append(edges, len(mono)))
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
