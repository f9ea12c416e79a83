"""The corpus readers by name: each turns the files on disk into utterances and rejected rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.corpora import calls, filenames, iemocap, meld, table
from lsgmer.corpora.params import FILENAMES, CorpusParams
from lsgmer.manifests.utterance import CorpusReading, Utterance

Reader = Callable[[CorpusParams, Path], CorpusReading]
CORPORA: dict[str, Reader] = {
    "sample": table.read,  # corpora/synthetic/generate.py writes an ordinary table
    "table": table.read,
    "calls": calls.read,
    "iemocap": iemocap.read,
    "meld": meld.read,
    **dict.fromkeys(FILENAMES, filenames.read),
}


def read_corpus(params: CorpusParams, root: Path) -> CorpusReading:
    """Read the corpus in folder `root` (workspace root / corpus.path).

    Raises LsgmerError when the folder or the table is missing or unreadable, or when no row can be used.
    """
    if not root.is_dir():
        remedy = "run `dvc repro sample` to make it" if params.synthesize else "set corpus.path in params.yaml"
        raise LsgmerError(f"{root}: there is no such corpus folder; {remedy}")
    reading = CORPORA[params.name](params, root)
    if params.channel is not None:
        reading = replace(reading, utterances=tuple(_on(params.channel, u) for u in reading.utterances))
    if not reading.utterances:
        common = Counter(row.reason for row in reading.rejected).most_common(3)
        reasons = "".join(f"\n  {count} x {reason}" for reason, count in common)
        raise LsgmerError(f"{root / (params.table or '')}: no row can be used{reasons or ': there are no rows'}")
    return reading


def _on(channel: int, utterance: Utterance) -> Utterance:
    """Return the utterance on `channel`, unless it names its own or has no audio."""
    return (
        utterance if utterance.audio is None or utterance.channel is not None else replace(utterance, channel=channel)
    )
