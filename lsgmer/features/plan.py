"""Which utterances are encoded together: a plan that depends on the data alone.

Neither the number of processes nor where a run was killed is part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from lsgmer.core.records import SPLITS, Modality, Split
from lsgmer.features.batch import length_buckets
from lsgmer.features.store import BATCHES
from lsgmer.manifests.utterance import Utterance

# The most that one batch holds after padding: milliseconds of audio, tokens of text. More was no faster on a CPU.
MOST: dict[Modality, int] = {"audio": 60_000, "text": 2_048}


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of rows of similar length per split, and the rows that repeat another row of their split.

    `same` maps a row to the earlier one with equal input, whose features are also its own. No batch has rows of two
    splits, so that nothing of the test split is near training data.
    """

    batches: dict[Split, list[list[int]]]
    same: dict[Split, dict[int, int]]

    def content(self) -> list[Any]:
        """Return the plan and the rule behind it as plain JSON values: part of the key of unfinished work."""
        return [BATCHES, self.batches, {split: sorted(rows.items()) for split, rows in self.same.items()}]

    def followers(self, split: Split) -> dict[int, list[int]]:
        """Return, for each row that others repeat, these rows."""
        found: dict[int, list[int]] = {}
        for row, first in self.same[split].items():
            found.setdefault(first, []).append(row)
        return found


def plan_batches(
    parts: dict[Split, list[Utterance]],
    lengths_of: Callable[[Sequence[Utterance]], list[int | None]],
    batch_size: int,
    most: int,
    input_of: Callable[[Utterance], Hashable] | None = None,
) -> Plan:
    """Return the plan for the utterances of each split.

    Args:
        parts: the utterances of each split, in the order of its rows.
        lengths_of: the length of each utterance's input, in any unit; rows whose length is None are in no batch.
        batch_size: how many utterances a batch has at most.
        most: how long a batch is at most: its longest length times its utterances. A longer utterance is alone.
        input_of: what decides an utterance's features: equal inputs are encoded once. None: all are different.

    """
    plan = Plan({}, {})
    for split in SPLITS:
        utterances = parts.get(split, [])
        lengths = {row: n for row, n in enumerate(lengths_of(utterances)) if n is not None}
        first: dict[Hashable, int] = {}
        plan.same[split] = {}
        for row in lengths:
            earlier = row if input_of is None else first.setdefault(input_of(utterances[row]), row)
            if earlier != row:
                plan.same[split][row] = earlier
        rows = [row for row in lengths if row not in plan.same[split]]
        groups = length_buckets([lengths[row] for row in rows], len(rows) or 1)
        plan.batches[split] = [
            batch for group in groups for batch in _cut([rows[i] for i in group], lengths, batch_size, most)
        ]
    return plan


def _cut(rows: list[int], lengths: dict[int, int], batch_size: int, most: int) -> list[list[int]]:
    """Divide rows, shortest first, into batches; the longest of a batch is its last."""
    batches: list[list[int]] = []
    for row in rows:
        if batches and len(batches[-1]) < batch_size and lengths[row] * (len(batches[-1]) + 1) <= most:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
