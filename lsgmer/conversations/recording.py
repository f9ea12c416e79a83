"""A long recording of a conversation: read block by block and cut by cut, never as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from lsgmer.audio import AudioError, Waveform, blocks, can_seek, decode, form, read_frames, unusable
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import Seconds
from lsgmer.core.text import clock

Array = np.ndarray[Any, Any]
FLAT = ("constant", "channels cancel out")  # of a second of a call, these mean nothing
SAME = 1e-4  # of the channels' energy is in their difference where both hold the same


def demand_form(path: Path, most_channels: int, most_rate: int) -> None:
    """Raise LsgmerError for more channels, or a higher rate in Hz, than memory is meant for."""
    rate, channels = form(path)
    if channels > most_channels or not 0 < rate <= most_rate:
        raise LsgmerError(
            f"audio: {channels} channels at {rate} Hz; at most {most_channels} channels (max_channels) at "
            f"{most_rate} Hz (max_sample_rate) are read"
        )


class Recording:
    """A conversation's recording in a file that can be cut at once.

    Formats in which nothing is found without decoding all before it (MP3, a FLAC from a pipe) are first rewritten.
    """

    def __init__(self, path: Path, scratch: Path, most_s: Seconds) -> None:
        """Open `path`; `scratch` is a folder for a rewritten copy, which its owner deletes.

        Raises LsgmerError for what is no audio, and for more than `most_s` seconds.
        """
        self.path = path
        self.sample_rate, self.channels = form(path)
        self._most = most_s * self.sample_rate
        if not can_seek(path):
            self.path = self._rewritten(scratch / "call.flac")

    def blocks(self, heard: Callable[[Array], None] | None = None) -> Iterator[Array]:
        """Yield the samples (N, channels), float32, in order. Raises LsgmerError for those that mean nothing."""
        total = 0
        for block in blocks(self.path):
            total += len(block)
            if total > self._most:
                raise LsgmerError(
                    f"audio: longer than {clock(self._most / self.sample_rate)}, which is all that is read; "
                    "send it in parts"
                )
            reason = unusable(block)
            if reason and not reason.startswith(FLAT):
                raise LsgmerError(f"audio: around {clock((total - len(block)) / self.sample_rate)}: {reason}")
            if heard is not None:
                heard(block)
            yield block

    def frames(self, start_s: Seconds, end_s: Seconds) -> Array:
        """Return a stretch of all channels (N, channels). Raises AudioError."""
        return read_frames(self.path, start_s, end_s)

    def cut(self, start_s: Seconds, end_s: Seconds, channel: int | None) -> Waveform:
        """Return a stretch of one channel, or of all, mixed. Raises AudioError."""
        return decode(self.path, start_s, end_s, channel)

    def _rewritten(self, path: Path) -> Path:
        if path.exists():  # made before the service was stopped
            return path
        part = path.with_suffix(".part")
        try:
            with soundfile.SoundFile(
                part, "w", self.sample_rate, self.channels, format="FLAC", subtype="PCM_24"
            ) as file:
                for block in self.blocks():
                    file.write(block)
        except soundfile.LibsndfileError as error:
            reason = f"undecodable: {error.error_string}; send it as WAV or FLAC"
            raise AudioError(self.path, reason) from None
        return part.rename(path)


class Survey:
    """What is learnt of a recording while its blocks go by: how long it is, and whether all channels are alike."""

    def __init__(self, channels: int) -> None:
        self.frames = 0
        self._energy = np.zeros(channels)
        self._difference = 0.0

    def __call__(self, block: Array) -> None:
        """Take in samples (N, channels)."""
        self.frames += len(block)
        self._energy += np.square(block, dtype=np.float64).sum(axis=0)
        self._difference += float(np.square(block - block[:, :1], dtype=np.float64).sum())

    @property
    def alike(self) -> bool:
        """Whether there are several channels, which all hold the same sound."""
        return len(self._energy) > 1 and self._difference <= SAME * float(self._energy.sum())
