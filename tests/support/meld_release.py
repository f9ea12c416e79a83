"""A small MELD as its authors publish it: three CSVs whose ids restart, and clips; no line of the real one."""

from __future__ import annotations

import csv
from pathlib import Path

HEADER = (
    "Sr No.",
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
)
EMOTIONS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
SPEAKERS = ("Ada", "Bo", "Cy")  # the same in every split, as in the real partition
OFFICIAL = ("train", "dev", "test")
Cells = dict[str, str]


def rows(official: str, count: int = 14) -> list[Cells]:
    """`count` rows, two dialogues of 7 by default; utterance ids have a gap, `Sr No.` too."""
    return [
        {
            "Sr No.": str(3 * index + 1),
            "Utterance": f"Line {index} of {official}, that’s all.",
            "Speaker": SPEAKERS[index % 3],
            "Emotion": EMOTIONS[index % 7],
            "Sentiment": "neutral",
            "Dialogue_ID": str(index // 7),
            "Utterance_ID": str(index % 7 * 2),
            "Season": "8",
            "Episode": "21",
            "StartTime": f"00:16:{index:02},059",
            "EndTime": f"00:16:{index + 1:02},731",
        }
        for index in range(count)
    ]


def write(root: Path, changed: dict[str, list[Cells]] | None = None) -> Path:
    """Write the three CSVs into `root`, those of `changed` in place of the usual rows."""
    root.mkdir(parents=True, exist_ok=True)
    for official in OFFICIAL:
        with (root / f"{official}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HEADER)
            writer.writeheader()
            writer.writerows((changed or {}).get(official) or rows(official))
    return root
