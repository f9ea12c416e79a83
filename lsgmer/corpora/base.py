"""What corpus readers share: labels from a corpus's own words, repaired text, corpora that are a folder of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.corpora.params import CorpusParams
from lsgmer.manifests.utterance import LEFT_OUT, CorpusReading, RejectedRow, Utterance

SHOWN = 40  # how many characters of a bad cell a reason quotes


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


# U+0081, 8D, 8F, 90 and 9D are not characters in cp1252; they are kept, and validation quarantines the row.
MENDED = {byte: bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) for byte in range(0x80, 0xA0)}


def mend(text: str) -> str:
    """Return `text` with each C1 control (U+0080 to U+009F, never written on purpose) as the cp1252 character it was.

    Call this before stripping or splitting: Python takes U+0085, cp1252's ellipsis, for a space.
    """
    return text.translate(MENDED)


def read_files(root: Path, folder: str, make: Callable[[str], Utterance]) -> CorpusReading:
    """Call `make` with the name, without suffix, of every WAV file in `root`/`folder`; collect what it returns.

    A file for which `make` raises Unfit is rejected. macOS's companion files (`._NAME.wav`) are not audio and
    are skipped. Raises LsgmerError when the folder is missing or holds no WAV file.
    """
    names = sorted(file.stem for file in (root / folder).glob("*.wav") if not file.name.startswith("._"))
    if not names:
        raise LsgmerError(
            f"{root / folder}: no such folder, or no .wav file in it; set corpus.path to the parent of {folder}/"
        )
    utterances: list[Utterance] = []
    rejected: list[RejectedRow] = []
    for name in names:
        try:
            utterances.append(make(name))
        except Unfit as reason:
            rejected.append(RejectedRow(folder, f"{name}.wav", str(reason)))
    return CorpusReading(tuple(utterances), tuple(rejected))
