"""Speaker-wise normalisation of a feature store: for experiments, as a service does not know who speaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lsgmer.batching import FeatureSplit
from lsgmer.types import Modality, digest

Array = np.ndarray[Any, Any]
SMALLEST = 1e-6  # a feature that moves less within a speaker is not scaled


def speaker_normalised(split: FeatureSplit, modality: Modality) -> FeatureSplit:
    """Return `split` with each speaker's frames of `modality` at mean 0 and standard deviation 1 per feature.

    Mean and deviation (D,) are over all frames of the speaker's own utterances in this set, taken in float64;
    no label is read, and no other speaker. Features that are constant within a speaker become 0. The
    result is in memory, its sha256 derived from the split's. Raises KeyError for a modality that the set lacks.
    """
    frames = np.array(split.flat[modality], dtype=np.float32)
    speaker_of_frame = np.repeat(np.asarray(split.speakers, dtype=object), split.lengths(modality))
    for speaker in sorted(set(split.speakers)):
        rows = speaker_of_frame == speaker
        if rows.any():
            frames[rows] = _standardised(frames[rows].astype(np.float64))
    sha256 = digest([split.sha256, "speaker_normalised/1", modality])
    return replace(split, flat={**split.flat, modality: frames}, sha256=sha256)


def _standardised(values: Array) -> Array:
    """Return values (T, D) less their mean, over their standard deviation where there is any."""
    deviation = values.std(axis=0)
    centred = values - values.mean(axis=0)
    return np.asarray(centred / np.where(deviation > SMALLEST, deviation, 1.0))
