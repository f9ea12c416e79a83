"""What was said before: an utterance's earlier neighbours in its dialogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lsgmer.types import Split, Utterance


def words_before(utterances: Sequence[Utterance], count: int) -> dict[str, tuple[str, ...]]:
    """Return, by utterance id, the words of the up to `count` utterances before it, earliest first.

    Before means: in the same dialogue and split, with a lower turn, and with words. An utterance without a
    dialogue or a turn has nobody before it. What is not in `utterances` (a quarantined row) is not there.
    """
    dialogues: dict[tuple[Split | None, str], list[tuple[int, str, str]]] = defaultdict(list)
    for u in utterances:
        if u.dialogue is not None and u.turn is not None and u.text and u.text.strip():
            dialogues[u.split, u.dialogue].append((u.turn, u.id, u.text))
    before: dict[str, tuple[str, ...]] = {}
    for lines in dialogues.values():
        lines.sort()
        for turn, key, _ in lines:
            earlier = [words for other, _, words in lines if other < turn]
            before[key] = tuple(earlier[max(0, len(earlier) - count) :])
    return before
