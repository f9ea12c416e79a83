"""Several audio encoders as one: each frame holds what all of them say about the same stretch of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lsgmer.audio import Waveform
from lsgmer.core.records import SIDE_BY_SIDE, EncoderSpec

if TYPE_CHECKING:
    from lsgmer.encoders.build import AudioEncoder

Array = np.ndarray[Any, Any]
ALIGNMENT = "centres/1"  # names the rule of `align` in the spec: another rule would give other frames


class SideBySide:
    """Frames (T, D) of `parts`, concatenated per frame: T and the hop are the first one's, D is the sum of theirs.

    Each part encodes as it does alone, so that alone equals in a batch as closely as it does for the parts.
    """

    def __init__(self, parts: Sequence[AudioEncoder]) -> None:
        self._parts = tuple(parts)
        self.hop_ms = self._parts[0].hop_ms
        specs = [part.spec for part in self._parts]
        self.spec = EncoderSpec(
            modality="audio",
            kind=SIDE_BY_SIDE,
            dimension=sum(spec.dimension for spec in specs),
            sample_rate=specs[0].sample_rate,
            settings={"alignment": ALIGNMENT, "parts": [spec.model_dump(mode="json") for spec in specs]},
        )

    def encode(self, waveforms: Sequence[Waveform]) -> list[Array]:
        """Return frames (T, D) float32 of each waveform. Raises LsgmerError for a waveform without samples."""
        found = [part.encode(waveforms) for part in self._parts]
        return [self._beside(frames) for frames in zip(*found, strict=True)]

    def encode_together(self, waveforms: Sequence[Waveform]) -> list[Array]:
        """Return what `encode` does, within 1e-5: parts that gain from it read all waveforms at once."""
        found = [part.encode_together(waveforms) for part in self._parts]
        return [self._beside(frames) for frames in zip(*found, strict=True)]

    def _beside(self, frames: Sequence[Array]) -> Array:
        """Return (T, sum of D) from the frames of each part for one waveform."""
        count = len(frames[0])
        aligned = [
            align(values, part.hop_ms, count, self.hop_ms)
            for values, part in zip(frames[1:], self._parts[1:], strict=True)
        ]
        return np.concatenate([frames[0], *aligned], axis=1)


def align(values: Array, hop_ms: float, count: int, target_hop_ms: float) -> Array:
    """Return frames `values` (T, D), one every `hop_ms`, as `count` frames (count, D), one every `target_hop_ms`.

    Frame i covers the time from i to i + 1 hops. A target frame is the mean of the frames whose centre lies in
    its time, and where there is none, the frame with the nearest centre (the earlier of two). So faster frames are
    averaged, slower ones repeated, and equal hops change nothing but the number of frames.
    """
    centres = (np.arange(len(values)) + 0.5) * hop_ms
    edges = np.arange(count + 1) * target_hop_ms
    start = np.searchsorted(centres, edges[:-1])
    end = np.searchsorted(centres, edges[1:])
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, (edges[:-1] + edges[1:]) / 2)
    empty = start == end
    start, end = np.where(empty, nearest, start), np.where(empty, nearest + 1, end)
    padded = np.concatenate([values, np.zeros_like(values[:1])]).astype(np.float64)  # reduceat needs `end` inside
    sums = np.add.reduceat(padded, np.stack([start, end], axis=1).ravel())[::2]
    means: Array = (sums / (end - start)[:, None]).astype(np.float32)
    return means
