"""What was said before each utterance of a dialogue: never in another dialogue or split, never later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lsgmer.core.records import Split
from lsgmer.encoders.context import Earlier
from lsgmer.manifests.utterance import Utterance


def has_text(utterance: Utterance) -> bool:
    """Say whether there is text to read; blank text does not count."""
    return bool(utterance.text and utterance.text.strip())


def words_before(utterances: Sequence[Utterance], count: int) -> dict[str, tuple[Earlier, ...]]:
    """Return, by utterance id, the up to `count` utterances before it, earliest first: words, and whose they are.

    Before means: in the same dialogue and split, with a lower turn, and with text. An utterance without a
    dialogue or a turn has none before it. Rows that are not in `utterances` (quarantined ones) do not count.
    """
    dialogues: dict[tuple[Split | None, str], list[tuple[int, str, Utterance]]] = defaultdict(list)
    for u in utterances:
        if u.dialogue is not None and u.turn is not None and has_text(u):
            dialogues[u.split, u.dialogue].append((u.turn, u.id, u))
    before: dict[str, tuple[Earlier, ...]] = {}
    for lines in dialogues.values():
        lines.sort(key=lambda line: line[:2])
        for turn, key, u in lines:
            earlier = [Earlier(str(o.text), o.speaker == u.speaker) for other, _, o in lines if other < turn]
            before[key] = tuple(earlier[max(0, len(earlier) - count) :])
    return before
