"""From a corpus's own emotion word to a label, and how a row is refused: shared by every reader."""

from __future__ import annotations

from lsgmer.data_params import CorpusParams

SHOWN = 40  # characters of a bad cell that a reason repeats
LEFT_OUT = "is left out by corpus.label_map"  # what every row left out on purpose is told; it is no defect


class Unfit(Exception):
    """Why a row is rejected. The reason names no row, so that equal reasons can be counted."""


def label_of(raw: str, params: CorpusParams) -> str:
    """Return the label of the word `raw`. Raises Unfit for an unknown word and for one that is left out."""
    names = params.label_set.names
    mapped = params.label_map.get(raw, raw if raw in names else "")
    if mapped is None:
        raise Unfit(f"emotion {raw!r} {LEFT_OUT}")
    if not mapped:
        known = ", ".join(sorted({*params.label_map, *names}))
        raise Unfit(f"unknown emotion {raw[:SHOWN]!r}; known are {known} (add it to corpus.label_map)")
    return mapped
