"""What a file holds is read whole or refused: joined streams, sizes that a pipe left open, headers that are wrong."""

from __future__ import annotations

import io
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.audio import AudioError, decode, facts
from lsgmer.containers import _mp3_frames, streams

Array = np.ndarray[Any, Any]
RATE = 16_000
ONE, OTHER = 220.0, 330.0


def tone(seconds: float, pitch: float = ONE, rate: int = RATE) -> Array:
    return (0.25 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: Array, kind: str, subtype: str | None = None, rate: int = RATE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype, **options)
    return buffer.getvalue()


def without_xing(content: bytes) -> bytes:
    """An MP3 as it comes out of a pipe: no frame that says how many follow."""
    first, second = (frame for frame, _ in zip(_mp3_frames(content), range(2), strict=False))
    assert first.promised is not None
    return content[second.at :]


def speech_like(seconds: float, rate: int = RATE) -> Array:
    """Loud and quiet stretches, so that a variable bit rate varies."""
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.2, round(seconds * rate)).astype(np.float32)
    loud = (np.arange(len(noise)) // rate) % 2 == 0
    return np.where(loud, noise, tone(seconds, rate=rate) * 0.01).astype(np.float32)


def written(folder: Path, content: bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("rate", [16_000, 44_100, 22_050])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_from_a_pipe_is_read_whole(tmp_path: Path, rate: int, mode: str) -> None:
    whole = encoded(speech_like(6, rate), "MP3", rate=rate, bitrate_mode=mode, compression_level=0.5)
    found = decode(without_xing(whole))
    assert abs(found.duration_s - 6) < 0.15  # encoder delay and padding, which only the missing header names
    assert abs(len(found.samples) - len(decode(whole).samples)) < 0.15 * rate
    fact = facts(written(tmp_path, without_xing(whole), "a.mp3"))
    assert fact.error is None
    assert fact.decoded_frames == len(found.samples)


def test_an_mp3_that_was_cut_off_still_says_so() -> None:
    whole = encoded(speech_like(6), "MP3")
    with pytest.raises(AudioError, match="truncated: the header promises 96000 frames"):
        decode(whole[: len(whole) // 2])


JOINED = [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None), ("WAV", None), ("AIFF", None)]


@pytest.mark.parametrize(("kind", "subtype"), JOINED)
def test_joined_files_are_read_one_after_another(tmp_path: Path, kind: str, subtype: str | None) -> None:
    first, second = encoded(tone(1.0), kind, subtype), encoded(tone(1.5, OTHER), kind, subtype)
    found = decode(first + second)
    assert abs(found.duration_s - 2.5) < 0.05
    np.testing.assert_array_equal(found.samples, np.concatenate([decode(first).samples, decode(second).samples]))
    path = written(tmp_path, first + second, "a.bin")
    assert facts(path).error is None
    assert facts(path).decoded_frames == len(found.samples)
    part = decode(path, 0.75, 1.25)
    np.testing.assert_array_equal(part.samples, found.samples[int(0.75 * RATE) : int(1.25 * RATE)])


def test_joined_mp3s_of_pipes_and_with_tags_are_read_whole() -> None:
    whole = encoded(speech_like(3), "MP3")
    tag = b"ID3\x04\x00\x00\x00\x00\x0f\x00" + bytes(15 * 128)  # 1,920 bytes: more than a decoder searches through
    assert abs(decode(without_xing(whole) + without_xing(whole)).duration_s - 6) < 0.3
    assert abs(decode(tag + whole + tag + whole).duration_s - 6) < 0.05


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 1000])
def test_joined_wavs_whose_sizes_are_wrong_are_read_one_after_another(size: int) -> None:
    first, second = bytearray(encoded(tone(1), "WAV")), encoded(tone(1.5, OTHER), "WAV")
    first[4:8] = struct.pack("<I", size)
    assert decode(bytes(first) + second).duration_s == 2.5


def test_a_flac_behind_a_tag_is_read() -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    np.testing.assert_array_equal(
        decode(tag + encoded(tone(1), "FLAC")).samples, decode(encoded(tone(1), "FLAC")).samples
    )


@pytest.mark.parametrize(("kind", "subtype"), JOINED)
def test_joined_files_of_different_rates_are_refused(kind: str, subtype: str | None) -> None:
    content = encoded(tone(1), kind, subtype) + encoded(tone(1, rate=48_000), kind, subtype, rate=48_000)
    with pytest.raises(AudioError, match=r"several recordings in one file, of 16000 Hz with 1 .* and 48000 Hz"):
        decode(content)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0x7FFF_F000, 0xFFFF_FFFF, 0xFFFF_FFFF - 44, "sox"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_of_a_pipe_is_read_whole(subtype: str, size: int | str, channels: int) -> None:
    content = bytearray(encoded(np.stack([tone(1)] * channels, 1), "WAV", subtype))
    at = content.index(b"data") + 4
    if size == "sox":  # whole frames, as SoX writes them
        frame = channels * {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}[subtype]
        size = 0x7FFF_F000 // frame * frame
    content[at : at + 4] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", max(0, min(int(size), 0xFFFF_FFFF - 36)) + 36 if size else 0)
    assert len(decode(bytes(content)).samples) == RATE


@pytest.mark.parametrize("off", [-44, -8, -1, 1, 8, 36, 44])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_wav_size_a_few_bytes_off_is_no_truncation(tmp_path: Path, off: int, subtype: str) -> None:
    content = bytearray(encoded(tone(1), "WAV", subtype))
    at = content.index(b"data") + 4
    (size,) = struct.unpack("<I", content[at : at + 4])
    content[at : at + 4] = struct.pack("<I", size + off)
    assert abs(decode(bytes(content)).duration_s - 1) < 0.05
    assert facts(written(tmp_path, bytes(content), "a.wav")).error is None


def test_a_wav_that_lost_its_end_is_truncated() -> None:
    content = encoded(tone(1), "WAV")
    with pytest.raises(AudioError, match="truncated: the header promises 16000 frames"):
        decode(content[:-400])


def test_a_flac_of_a_pipe_is_read_whole_and_bounded(tmp_path: Path) -> None:
    content = bytearray(encoded(tone(2), "FLAC"))
    content[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    content[22:26] = bytes(4)
    fact = facts(written(tmp_path, bytes(content), "a.flac"))
    if fact.error is None:
        assert fact.duration_s == pytest.approx(2, abs=0.05)
        assert abs(decode(bytes(content), 0.5, 1.0).duration_s - 0.5) < 1e-6
        with pytest.raises(AudioError, match="too long: over 1 s"):
            decode(bytes(content), limit_s=1.0)
    else:
        assert "57646" not in fact.error


def test_more_than_the_limit_is_not_decoded() -> None:
    content = encoded(tone(3), "WAV")
    assert decode(content, limit_s=3.0).duration_s == 3
    with pytest.raises(AudioError, match=r"too long: 3\.0 s, at most 2 s are read"):
        decode(content, limit_s=2.0)
    assert decode(content, 0.5, 1.5, limit_s=2.0).duration_s == 1


@given(st.binary(max_size=400), st.sampled_from([b"", b"ID3", b"\xff\xfb\x90\x00", b"OggS\x00\x02", b"fLaC\0\0\0\x22"]))
def test_any_bytes_have_streams_that_cover_them_in_order(content: bytes, magic: bytes) -> None:
    view = magic + content
    found = streams(view)
    assert found
    assert all(0 <= part.start <= part.end <= len(view) for part in found)
    assert all(a.end == b.start or b.prefix for a, b in pairwise(found))
