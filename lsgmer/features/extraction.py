"""Encoding batch by batch into shards: resumable, with loading beside the encoder, and shared with helper processes."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.core.device import encoding_processes
from lsgmer.core.progress import track
from lsgmer.core.records import SPLITS, EncoderSpec, Split, digest
from lsgmer.core.workers import Cluster
from lsgmer.features.helpers import Helpers, Readers, Task
from lsgmer.features.on_cluster import encode_there
from lsgmer.features.plan import Plan
from lsgmer.features.readers import Readings
from lsgmer.features.store import Frames
from lsgmer.manifests.utterance import Utterance

Array = np.ndarray[Any, Any]
Parts = dict[Split, list[Utterance]]


@dataclass(frozen=True, slots=True)
class Extraction:
    """The extraction of one modality: its batches, and the scratch folder with the finished ones.

    `name` is the modality, or that of its summaries. It holds no encoder, so it can be sent to another process.
    """

    name: str
    spec: EncoderSpec
    plan: Plan
    folder: Path

    @classmethod
    def of(cls, name: str, spec: EncoderSpec, plan: Plan, key: str, scratch: Path) -> Extraction:
        """Return the extraction whose folder in `scratch` is named after all that its bytes depend on."""
        return cls(name, spec, plan, scratch / f"{name}-{digest([spec.fingerprint, key, plan.content()])[:16]}")

    def batches(self) -> list[tuple[Split, list[int], Path]]:
        """Return (split, rows, shard file) of every batch, in order."""
        flat = [(split, rows) for split in SPLITS for rows in self.plan.batches[split]]
        return [(split, rows, self.folder / f"{i:06}.npz") for i, (split, rows) in enumerate(flat)]

    def frames(self, split: Split, count: int) -> Frames:
        """Return the finished features of `split`, which has `count` rows."""
        lengths = [0] * count
        shards = [(rows, file) for name, rows, file in self.batches() if name == split]
        for rows, file in shards:
            with np.load(file, allow_pickle=False) as shard:
                for row, length in zip(rows, shard["lengths"].tolist(), strict=True):
                    lengths[row] = length
        for row, first in self.plan.same[split].items():
            lengths[row] = lengths[first]
        return Frames(self.spec, lengths, _pieces(shards, self.plan.followers(split)))


def missing(extraction: Extraction, parts: Parts) -> list[Task]:
    """Return the batches that have no shard yet, longest first."""
    return [
        Task(extraction.name, tuple(parts[split][row] for row in rows), file)
        for split, rows, file in reversed(extraction.batches())
        if not file.is_file()
    ]


def extract(
    extractions: Sequence[Extraction],
    parts: Parts,
    readings: Readings,
    readers: Readers,
    threads: int,
    cluster: Cluster | None = None,
) -> None:
    """Encode every batch that has no shard yet. A shard appears whole or not at all.

    Args:
        extractions: what to encode; `readers` has the reader of each, by its name.
        parts: the utterances of each split, in the order of its rows.
        readings: what helper processes make their readers of.
        readers: the readers of this process.
        threads: how many threads each process uses.
        cluster: whose workers encode instead of this machine's processes; `publish` must have run.

    Raises:
        OSError: the disk is full; the message names the folder.

    """
    for part in extractions:
        with naming_full_disk(part.folder):
            part.folder.mkdir(parents=True, exist_ok=True)
            for leftover in part.folder.glob(".*"):  # half-written by a process that was killed
                leftover.unlink(missing_ok=True)
    work = [missing(part, parts) for part in extractions]
    most = 0 if readings.device != "cpu" else encoding_processes(threads) - 1
    with Helpers([task for tasks in work for task in tasks], readings, threads, most) as helpers:
        for part, tasks in zip(extractions, work, strict=True):
            what, total, done = f"features-{part.name}", len(part.batches()), len(part.batches()) - len(tasks)
            if done:
                print(f"{what}: resuming: {done} of {total} batches already done", flush=True)
            with naming_full_disk(part.folder):
                encoding = encode_there(tasks, cluster) if cluster else helpers.encode_next(len(tasks), readers)
                for _ in track(encoding, total, what, start=done):
                    pass
    if cluster:
        print(f"features: batches by worker: {cluster.said()}", flush=True)


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Add the folder's name to the error for a full disk, which often has none."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(folder)) from error
        raise


def _pieces(shards: list[tuple[list[int], Path]], followers: dict[int, list[int]]) -> Iterator[tuple[int, Array]]:
    """Yield (row, frames (T, D)) of every shard, and again for each row that repeats it."""
    for rows, file in shards:
        with np.load(file, allow_pickle=False) as shard:
            values = np.split(shard["flat"], np.cumsum(shard["lengths"])[:-1])
        for row, frames in zip(rows, values, strict=True):
            yield row, frames
            yield from ((follower, frames) for follower in followers.get(row, ()))
