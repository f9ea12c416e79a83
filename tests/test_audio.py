"""Audio in: what decodes is what was written, and whatever cannot be trusted says why."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import FLOOR_DB, AudioError, Waveform, channel_to_read, decode, facts, resample
from lsgmer.core.errors import LsgmerError

RATE = 16_000


def tone(seconds: float = 1.0, rate: int = RATE, level: float = 0.25) -> np.ndarray[Any, Any]:
    return (level * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray[Any, Any], kind: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def written(folder: Path, content: bytes, name: str = "a.wav") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("AIFF", None)])
def test_lossless_files_decode_to_what_was_written(kind: str, subtype: str | None) -> None:
    wave = decode(encoded(tone(), kind, subtype))
    assert (wave.sample_rate, wave.samples.dtype, wave.samples.shape) == (RATE, np.float32, (RATE,))
    np.testing.assert_allclose(wave.samples, tone(), atol=1 / 32767)


@pytest.mark.parametrize(("kind", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_lossy_files_decode_near_to_what_was_written(tmp_path: Path, kind: str, subtype: str | None) -> None:
    content = encoded(tone(), kind, subtype)
    wave = decode(content)
    assert abs(wave.duration_s - 1) < 0.1
    assert abs(float(np.sqrt(np.mean(wave.samples**2))) - 0.25 / np.sqrt(2)) < 0.02
    assert facts(written(tmp_path, content)).error is None


def test_path_and_bytes_decode_alike(tmp_path: Path) -> None:
    content = encoded(tone(), "FLAC")
    np.testing.assert_array_equal(decode(written(tmp_path, content)).samples, decode(content).samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.stack([tone(), np.zeros(RATE, np.float32)], axis=1)
    content = encoded(stereo, "WAV", "FLOAT")
    np.testing.assert_allclose(decode(content).samples, tone() / 2, atol=1e-6)
    assert facts(written(tmp_path, content)).channels == 2


def call() -> np.ndarray[Any, Any]:
    """Two persons, each on a channel of their own, who do not speak alike."""
    return np.stack([tone(), tone(level=0.1) * np.sin(np.arange(RATE) / 7)], axis=1).astype(np.float32)


def test_the_usual_channel_is_read_of_recordings_with_several() -> None:
    stereo, mono = encoded(call(), "WAV", "FLOAT"), encoded(tone(), "WAV", "FLOAT")
    assert [channel_to_read(stereo, given, usual) for given, usual in ((None, None), (None, 1), (0, 1))] == [None, 1, 0]
    assert [channel_to_read(mono, given, 1) for given in (None, 1)] == [None, 1]  # 1 is then refused by name


@pytest.mark.parametrize("channel", [0, 1])
def test_one_channel_is_what_a_recording_of_it_alone_would_be(tmp_path: Path, channel: int) -> None:
    stereo = written(tmp_path, encoded(call(), "WAV", "FLOAT"), "stereo.wav")
    alone = written(tmp_path, encoded(call()[:, channel], "WAV", "FLOAT"), "alone.wav")
    np.testing.assert_array_equal(decode(stereo, channel=channel).samples, call()[:, channel])
    np.testing.assert_array_equal(decode(stereo, 0.25, 0.5, channel).samples, call()[RATE // 4 : RATE // 2, channel])
    found, expected = facts(stereo, channel=channel), facts(alone)
    assert (found.channels, expected.channels) == (2, 1)
    assert replace(found, channels=1) == expected
    assert found.sha256 not in (facts(stereo, channel=1 - channel).sha256, facts(stereo).sha256)


@pytest.mark.parametrize(("count", "has"), [(1, "1 channel, number 0"), (2, "2 channels, 0 to 1")])
def test_a_channel_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, count: int, has: str) -> None:
    path = written(tmp_path, encoded(call()[:, :count], "FLAC"))
    reason = f"channel: there is no channel 2; the recording has {has}"
    with pytest.raises(AudioError, match=reason):
        decode(path, channel=2)
    assert facts(path, channel=2).error == reason


@pytest.mark.parametrize(
    ("channels", "mixing"),
    [
        (lambda a, b: [a], None),
        (lambda a, b: [a, a], None),
        (lambda a, b: [a, 0.5 * a], None),
        (lambda a, b: [a, a + 0.3 * b], None),
        (lambda a, b: [a, -a], "cancel"),
        (lambda a, b: [a, -0.8 * a + 0.2 * b], "cancel"),
        (lambda a, b: [a, b], "differ"),
        (lambda a, b: [a, 0 * a], "differ"),
        (lambda a, b: [a, a, b, b], None),
        (lambda a, b: [0 * a, 0 * a], None),
    ],
)
def test_what_is_lost_by_mixing_channels_is_told(tmp_path: Path, channels: Any, mixing: str | None) -> None:
    noise = np.random.default_rng(1).normal(scale=0.1, size=(2, RATE)).clip(-0.4, 0.4)
    path = written(tmp_path, encoded(np.stack(channels(*noise), axis=1).astype(np.float32), "WAV", "FLOAT"))
    assert facts(path).mixing == mixing
    assert facts(path, channel=0).mixing is None


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_resampling_keeps_duration_and_tone(rate: int) -> None:
    wave = resample(decode(encoded(tone(rate=rate), "WAV", rate=rate)), RATE)
    assert wave.sample_rate == RATE
    assert wave.samples.dtype == np.float32
    assert abs(wave.duration_s - 1) < 0.001
    np.testing.assert_allclose(wave.samples[500:-500], tone()[: len(wave.samples)][500:-500], atol=0.01)


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    wave = Waveform(tone(), RATE)
    assert resample(wave, RATE) is wave


@settings(max_examples=40, deadline=None)
@given(st.integers(0, RATE - 1), st.integers(1, RATE))
def test_a_cut_is_a_slice(first: int, length: int) -> None:
    last = min(first + length, RATE)
    content = encoded(tone(), "FLAC")
    whole, cut = decode(content), decode(content, first / RATE, last / RATE)
    np.testing.assert_array_equal(cut.samples, whole.samples[first:last])


def test_a_cut_of_an_mp3_is_a_slice_and_blocks_leave_no_seam() -> None:
    content = encoded(tone(40), "MP3")
    whole = decode(content).samples
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        at_once = file.read(dtype="float32")
    np.testing.assert_array_equal(whole, at_once)
    np.testing.assert_array_equal(decode(content, 20.25, 20.75).samples, whole[324_000:332_000])


@pytest.mark.parametrize(
    ("start_s", "end_s", "reason"),
    [
        (0.5, 0.5, "enclose nothing"),
        (0.6, 0.2, "enclose nothing"),
        (-1.0, 0.5, "enclose nothing"),
        (0.2, 5.0, "the recording is 1.00 s long"),
        (2.0, None, "the recording is 1.00 s long"),
    ],
)
def test_a_cut_that_does_not_fit_says_so(tmp_path: Path, start_s: float, end_s: float | None, reason: str) -> None:
    path = written(tmp_path, encoded(tone(), "WAV"))
    with pytest.raises(AudioError, match=reason):
        decode(path, start_s, end_s)
    assert reason in (facts(path, start_s, end_s).error or "")


def test_an_end_rounded_past_the_recording_is_its_end() -> None:
    assert len(decode(encoded(tone(), "WAV"), 0.5, 1.04).samples) == RATE // 2


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("MP3", None)])
def test_a_truncated_file_is_told_by_its_header(tmp_path: Path, kind: str, subtype: str | None) -> None:
    content = encoded(tone(), kind, subtype)
    found = facts(written(tmp_path, content[: len(content) // 2]))
    assert (found.error or "").startswith("truncated: the header promises 16000 frames")
    assert found.header_frames == RATE
    assert found.decoded_frames is not None
    assert found.decoded_frames < RATE
    with pytest.raises(AudioError, match="truncated"):
        decode(content[: len(content) // 2])


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_a_truncated_stream_does_not_decode(kind: str, subtype: str | None) -> None:
    content = encoded(tone(), kind, subtype)
    with pytest.raises(AudioError, match=r"undecodable|truncated"):
        decode(content[: len(content) // 3])


def test_a_cut_before_the_truncation_still_decodes() -> None:
    content = encoded(tone(), "WAV")
    assert len(decode(content[: len(content) // 2], 0.1, 0.3).samples) == RATE // 5
    with pytest.raises(AudioError, match="truncated"):
        decode(content[: len(content) // 2], 0.1, 0.9)


def test_a_streamed_wav_that_names_no_length_decodes() -> None:
    content = bytearray(encoded(tone(), "WAV"))
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    assert len(decode(bytes(content)).samples) == RATE


@pytest.mark.parametrize("seconds", [1, 40])
def test_a_flac_from_a_pipe_decodes_wholly(tmp_path: Path, seconds: int) -> None:
    samples = np.tile(tone(), seconds)
    content = bytearray(encoded(samples, "FLAC"))
    content[21] &= 0xF0  # STREAMINFO's 36 bits of total samples, which a pipe leaves 0
    content[22:26] = bytes(4)
    decoded = decode(bytes(content)).samples
    np.testing.assert_allclose(decoded, samples, atol=2**-15)
    np.testing.assert_array_equal(decode(bytes(content), 0.25, 0.75).samples, decoded[RATE // 4 : 3 * RATE // 4])
    assert facts(written(tmp_path, bytes(content))).error is None


def test_a_flac_that_lies_about_its_length_reserves_no_memory() -> None:
    content = bytearray(encoded(tone(), "FLAC"))
    content[21] |= 0x0F  # STREAMINFO's 36 bits of total samples
    content[22:26] = b"\xff\xff\xff\xff"
    with pytest.raises(AudioError, match=r"undecodable|truncated"):
        decode(bytes(content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is a text file, whatever its name says\n", "undecodable"),
        (b"", "empty"),
        (encoded(tone()[:0], "WAV"), "empty"),
        (encoded(np.full(100, np.nan, np.float32), "WAV", "FLOAT"), "not finite"),
    ],
    ids=["text", "zero bytes", "zero frames", "nan"],
)
def test_bad_content_says_why_and_its_facts_do_too(tmp_path: Path, content: bytes, reason: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(AudioError, match=f"a.wav: {reason}") as caught:
        decode(path)
    assert isinstance(caught.value, LsgmerError)
    assert facts(path).error == caught.value.reason
    assert str(tmp_path) not in caught.value.reason


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="missing"):
        decode(tmp_path / "none.wav")
    assert (facts(tmp_path / "none.wav").error or "").startswith("missing")
    assert "folder" in (facts(tmp_path).error or "")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"RIFF\x24\0\0\0WAVE", b"fLaC\0\0\0\x22", b"OggS", b"ID3"]))
def test_any_bytes_decode_or_say_why(content: bytes, magic: bytes) -> None:
    try:
        samples = len(decode(magic + content).samples)
    except AudioError:
        return
    assert samples > 0


def test_facts_of_a_tone_and_of_silence(tmp_path: Path) -> None:
    loud = facts(written(tmp_path, encoded(np.concatenate([tone(), np.zeros(RATE)]), "WAV", "FLOAT")))
    assert loud.duration_s == 2.0
    assert loud.peak == pytest.approx(0.25, abs=1e-3)
    assert loud.rms_db == pytest.approx(20 * np.log10(0.25 / 2), abs=0.01)
    assert loud.silence_share == pytest.approx(0.5)
    assert loud.clipping_share == 0
    silent = facts(written(tmp_path, encoded(np.zeros(RATE), "WAV")))
    assert (silent.rms_db, silent.silence_share, silent.peak, silent.error) == (FLOOR_DB, 1.0, 0.0, None)
    clipped = facts(written(tmp_path, encoded(np.clip(tone(level=10.0), -1, 1), "WAV")))
    assert clipped.clipping_share is not None
    assert clipped.clipping_share > 0.9


def test_the_same_samples_have_the_same_hash_in_any_container(tmp_path: Path) -> None:
    quantised = np.rint(tone() * 32767).astype(np.int16)
    names = [("WAV", "a.wav"), ("FLAC", "a.flac"), ("AIFF", "a.aiff")]
    found = [facts(written(tmp_path, encoded(quantised, kind), name)).sha256 for kind, name in names]
    assert len(set(found)) == 1
    path = written(tmp_path, encoded(quantised, "WAV"))
    assert facts(path, 0.0, 0.5).sha256 != facts(path, 0.4987, 0.9987).sha256
