"""When a recogniser's words are believed: pure rules about what it said, each with its reason.

Recognisers hear fluent words in silence, music and languages that they do not know. What gives them away is that they
are unsure, that they repeat themselves, or that they never end.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

TOKENS_PER_S = 6.5  # speech has fewer
MIN_LOG_PROBABILITY = -0.5  # measured with Moonshine: docs/log.md, 2026-11-27
FEW_TURNS, LEAST_BELIEVED = 4, 0.25  # of a conversation
DOUBT = 1.0  # nats that the words must make up for: a few tokens can look sure by chance


@dataclass(frozen=True, slots=True)
class Heard:
    """What a recogniser said about one piece of audio.

    `log_probabilities` are those of `tokens` and, unless it was `capped`, of the end.
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    capped: bool

    @property
    def mean_log_probability(self) -> float:
        """Of all tokens, the end included; 0 is certainty."""
        return sum(self.log_probabilities) / max(1, len(self.log_probabilities))


def token_cap(duration_s: float) -> int:
    """Return how many tokens a recogniser may say about `duration_s` seconds."""
    return max(1, math.ceil(TOKENS_PER_S * duration_s))


def not_believed(heard: Heard, least: float) -> str | None:
    """Return why the words are not believed, or None.

    `least` is the lowest mean log-probability that is believed in a long text; of n tokens, it is DOUBT / n more.
    """
    if not heard.text:
        return "the recogniser heard no words"
    if heard.capped:
        return f"the words did not end within {len(heard.tokens)} tokens, which is more than speech has"
    if repeats(heard.text.lower().split()) or repeats(heard.tokens):
        return "the words repeat themselves"
    needed = least + DOUBT / len(heard.log_probabilities)
    if heard.mean_log_probability < needed:
        found = f"mean log-probability {heard.mean_log_probability:.2f}, under {needed:.2f}"
        return f"the recogniser was not sure of its {len(heard.tokens)} tokens ({found})"
    return None


def all_doubtful(believed: int, heard: int) -> bool:
    """Return whether so few of the `heard` turns of a conversation are believed that those, too, are chance.

    In English that is hard to hear four of ten are believed, in another language one of a hundred.
    """
    return heard >= FEW_TURNS and believed < LEAST_BELIEVED * heard


def repeats(items: Sequence[Hashable]) -> bool:
    """Return whether some n items are said `times` times in a row: one four times, two to eight three times."""
    for size in range(1, 9):
        times = 4 if size == 1 else 3
        run = 0
        for i in range(size, len(items)):
            run = run + 1 if items[i] == items[i - size] else 0
            if run >= size * (times - 1):
                return True
    return False
