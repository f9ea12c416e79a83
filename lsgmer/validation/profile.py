"""profile.json: the validated corpus in numbers, the baseline against which drift is measured later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from lsgmer.core.records import SPLITS, Labels, Record

BINS = 10
DIGITS = 6


class Histogram(Record):
    """`shares[i]` of the values lie in [edges[i], edges[i+1]), the last bin closed; edges are quantiles.

    Later values beyond the outer edges belong to the outer bins. `n` is the number of values.
    """

    n: int
    mean: float
    sd: float
    edges: tuple[float, ...]
    shares: tuple[float, ...]


class LabelProfile(Record):
    """One label: rows by split, speakers, and the means of its audio and words (None where it has none)."""

    splits: dict[str, int]
    speakers: int
    mean_duration_s: float | None
    mean_rms_db: float | None
    mean_words: float | None


class Profile(Record):
    """The corpus in numbers. Histograms are of the `reference` split, which the model is trained on."""

    format: str = "lsgmer-profile/1"
    reference: str = "train"
    splits: dict[str, int]
    speakers: dict[str, int]
    modalities: dict[str, int]
    class_shares: dict[str, dict[str, float]]
    sex_shares: dict[str, dict[str, float]]
    histograms: dict[str, Histogram]
    labels: dict[str, LabelProfile]


def profile_of(frame: pd.DataFrame, labels: Labels) -> Profile:
    """Return the profile of the kept rows: `frame` is what `frame.to_frame` makes of them."""
    words = frame["text"].map(lambda text: len(text.split()), na_action="ignore").astype("float64")
    characters = frame["text"].map(len, na_action="ignore").astype("float64")
    frame = frame.assign(text_words=words, text_characters=characters)
    parts = {split: frame[frame["split"] == split] for split in SPLITS}
    audio, text = frame["audio"].notna(), frame["text"].notna()
    numbers = ("duration_s", "rms_db", "silence_share", "text_words", "text_characters")
    drawn = {name: histogram(parts["train"][name]) for name in numbers}
    return Profile(
        splits={split: len(part) for split, part in parts.items()},
        speakers={split: int(part["speaker"].nunique()) for split, part in parts.items()},
        modalities={
            "audio": int((audio & ~text).sum()),
            "text": int((text & ~audio).sum()),
            "both": int((audio & text).sum()),
        },
        class_shares={split: _shares(part["emotion"], labels.names) for split, part in parts.items()},
        sex_shares={split: _shares(part["sex"].fillna("unknown"), _sexes(frame)) for split, part in parts.items()},
        histograms={name: drawn for name, drawn in drawn.items() if drawn is not None},
        labels={name: _label_profile(frame[frame["emotion"] == name]) for name in labels.names},
    )


def histogram(values: pd.Series[Any]) -> Histogram | None:
    """Return the histogram of the values (N,), missing ones left out, over up to `BINS` bins; None without any.

    Equal quantiles are merged, so that no bin is empty by design; a constant has one bin of zero width.
    """
    known = values.dropna().to_numpy(dtype=np.float64)
    if not len(known):
        return None
    edges = np.unique(np.round(np.quantile(known, np.linspace(0, 1, BINS + 1)), DIGITS))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    inner = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(inner, minlength=len(edges) - 1)
    return Histogram(
        n=len(known),
        mean=round(float(known.mean()), DIGITS),
        sd=round(float(known.std()), DIGITS),
        edges=tuple(float(edge) for edge in edges),
        shares=tuple(round(float(count) / len(known), DIGITS) for count in counts),
    )


def _shares(values: pd.Series[Any], names: Iterable[str]) -> dict[str, float]:
    counts = Counter(values)
    return {name: round(counts[name] / max(len(values), 1), DIGITS) for name in names}


def _sexes(frame: pd.DataFrame) -> list[str]:
    return sorted(frame["sex"].fillna("unknown").unique())


def _label_profile(rows: pd.DataFrame) -> LabelProfile:
    return LabelProfile(
        splits={split: int((rows["split"] == split).sum()) for split in SPLITS},
        speakers=int(rows["speaker"].nunique()),
        mean_duration_s=_mean(rows["duration_s"]),
        mean_rms_db=_mean(rows["rms_db"]),
        mean_words=_mean(rows["text_words"]),
    )


def _mean(values: pd.Series[Any]) -> float | None:
    return round(float(values.mean()), DIGITS) if values.notna().any() else None
