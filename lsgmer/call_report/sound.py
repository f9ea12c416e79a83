"""The recording as a report may carry it: small, and in a format in which every browser finds a position at once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from lsgmer.audio import blocks, form
from lsgmer.core.errors import LsgmerError

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # of MP3
SMALL = 0.9  # of soundfile's scale from the best quality to the smallest file
MOST_MIB = 256.0


def as_mp3(path: Path) -> bytes:
    """Return a recording as an MP3 of constant bit rate; of more than two channels the mix.

    Browsers only estimate where a time is in files of variable bit rate. Raises AudioError for what cannot be read, and
    LsgmerError for a rate that MP3 does not have, and for what would be too large for a page.
    """
    rate, channels = form(path)
    if rate not in RATES:
        raise LsgmerError(
            f"--with-audio: {path}: {rate} Hz cannot be put into a page; leave it out, and choose the file in the page"
        )
    file = io.BytesIO()
    with soundfile.SoundFile(
        file,
        "w",
        rate,
        channels if channels <= 2 else 1,
        format="MP3",
        compression_level=SMALL,
        bitrate_mode="CONSTANT",
    ) as out:
        for block in blocks(path):
            out.write(_narrow(block))
            if file.tell() > MOST_MIB * 2**20:
                raise LsgmerError(f"--with-audio: {path}: over {MOST_MIB:g} MiB; choose the file in the page instead")
    return file.getvalue()


def _narrow(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return at most two channels of samples (N, C), within full scale."""
    mixed = block.mean(axis=1, keepdims=True) if block.shape[1] > 2 else block
    return np.asarray(np.clip(mixed, -1.0, 1.0))
