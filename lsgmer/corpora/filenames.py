"""Corpora whose file names say everything: one folder of WAV files, each an utterance or rejected by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lsgmer.corpora.labels import Unfit
from lsgmer.errors import LsgmerError
from lsgmer.types import CorpusReading, RejectedRow, Utterance


def read_files(root: Path, folder: str, make: Callable[[str], Utterance]) -> CorpusReading:
    """Put the name without suffix of every WAV file in `root`/`folder` to `make`, which raises Unfit.

    The companions that macOS leaves (`._NAME.wav`) are no audio and are passed over. Raises LsgmerError when
    the folder is missing or holds no WAV file.
    """
    names = sorted(file.stem for file in (root / folder).glob("*.wav") if not file.name.startswith("._"))
    if not names:
        raise LsgmerError(
            f"{root / folder}: no such folder, or no .wav file in it; set corpus.path to what holds {folder}/"
        )
    utterances: list[Utterance] = []
    rejected: list[RejectedRow] = []
    for name in names:
        try:
            utterances.append(make(name))
        except Unfit as reason:
            rejected.append(RejectedRow(folder, f"{name}.wav", str(reason)))
    return CorpusReading(tuple(utterances), tuple(rejected))
