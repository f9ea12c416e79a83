"""Row `text`: MiniLM on MELD's words, as the features stage encodes them, against one text at a time.

Both sides are bench.extraction's, which also compares larger encoders and several cores.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import extraction
from bench.paired import NotMeasured, Pair, Sample

COUNT = 500


def pairs() -> list[Pair]:
    """Return the row; each side runs in a process of its own, whose imports do not count."""
    if not extraction.MELD.is_file():
        raise NotMeasured(f"needs {extraction.MELD}; `python -m bench.extraction` says what for")
    folder = tempfile.TemporaryDirectory(prefix="lsgmer-bench-")
    root = Path(folder.name)
    extraction.make(root, extraction.meld(COUNT), ["features.audio={kind: none}"], False)
    extraction.timed(root, ["facts"], 1, 1)
    return [
        Pair(
            "text",
            f"the features stage on {COUNT} texts of MELD with MiniLM, one core",
            "transformers, one text at a time (bench.extraction)",
            lambda: Sample(*extraction.timed(root, ["extraction"], 1, 1)),
            lambda: Sample(*extraction.timed(root, ["plain"], 1, 1)),
            COUNT,
            "text",
            warm_up=False,
            holds=folder,
        )
    ]
