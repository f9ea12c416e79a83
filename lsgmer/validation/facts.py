"""The audio facts of a corpus, read by processes of this machine or by the workers of a cluster: the same facts."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path

from lsgmer.audio import AudioFacts, facts
from lsgmer.core.device import cores
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.progress import track
from lsgmer.core.workers import Cluster
from lsgmer.manifests.utterance import Utterance

CHUNK = 8  # files per message to a process
SHARD = 32  # at most so many files per shard of a cluster, at least SHARES shards per worker
SHARES = 4
DIGITS = 6  # the last bits of a mean differ between processors
ROUNDED = ("rms_db", "peak", "clipping_share", "silence_share")
Job = tuple[str, float | None, float | None, int | None]  # file, start and end in seconds, channel
Shard = tuple[int, list[Job]]  # its number, which names its file of results, and its jobs
Found = Iterator[tuple[int, AudioFacts]]  # the job's place and its facts


def audio_facts(
    utterances: Sequence[Utterance], root: Path, processes: int, cluster: Cluster | None = None
) -> dict[str, AudioFacts]:
    """Return the facts by id of every utterance with audio, in the order of `utterances`, and show progress.

    Args:
        utterances: what to read.
        root: the folder that their audio paths are relative to.
        processes: how many processes to use, 0 for every core; unused with a cluster.
        cluster: whose workers to use instead; they must see `root` at the same path.

    Raises:
        LsgmerError: a process died, or the cluster failed.

    """
    spoken = [u for u in utterances if u.audio is not None]
    jobs = [(str(root / str(u.audio)), u.start_s, u.end_s, u.channel) for u in spoken]
    reading = _on_cluster(jobs, cluster) if cluster else _in_processes(jobs, min(processes or cores(), len(jobs)))
    found = dict(track(reading, len(jobs), "audio facts"))
    if cluster:
        print(f"audio facts: shards by worker: {cluster.said()}", flush=True)
    return {utterance.id: found[place] for place, utterance in enumerate(spoken)}


def read_shard(session: Path, shard: Shard) -> None:
    """Read the facts of a shard on a worker and write them to its file in `session`, unless they are there."""
    number, jobs = shard
    target = shard_file(session, number)
    if not target.is_file():
        write_atomically(target, json.dumps([asdict(_facts(job)) for job in jobs]))


def shard_file(session: Path, number: int) -> Path:
    """Return the file of a shard's facts: a JSON list in the order of its jobs."""
    return session / f"facts-{number:06}.json"


def _facts(job: Job) -> AudioFacts:
    """Read one clip; a module-level function, so that worker processes can find it."""
    file, start_s, end_s, channel = job
    fact = facts(Path(file), start_s, end_s, channel)
    known = {name: value for name in ROUNDED if (value := getattr(fact, name)) is not None}
    return replace(fact, **{name: round(value, DIGITS) for name, value in known.items()})


def _in_processes(jobs: Sequence[Job], processes: int) -> Found:
    """Yield the facts in the jobs' order."""
    if processes <= 1:
        yield from enumerate(map(_facts, jobs))
        return
    # Not fork: the stage has threads. A fork server imports this module once, for all workers.
    context = multiprocessing.get_context("forkserver")
    try:
        with ProcessPoolExecutor(processes, context) as pool:
            yield from enumerate(pool.map(_facts, jobs, chunksize=CHUNK))
    except BrokenProcessPool:
        raise LsgmerError(
            "a process that reads audio was killed, perhaps for lack of memory; set validate.processes lower"
        ) from None


def _on_cluster(jobs: Sequence[Job], cluster: Cluster) -> Found:
    """Yield the facts as shards of them are finished, in any order."""
    size = max(1, min(SHARD, math.ceil(len(jobs) / (SHARES * cluster.slots))))
    shards = [(number, list(jobs[start : start + size])) for number, start in enumerate(range(0, len(jobs), size))]
    for number, failure in cluster.map(read_shard, shards):
        if failure:
            raise LsgmerError(f"audio facts: {failure}")
        file = shard_file(cluster.session, number)
        for place, known in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            fact, job = AudioFacts(**known), shards[number][1][place]
            if (fact.error or "").startswith("missing: there is no such") and _is_here(job[0]):
                raise LsgmerError(f"{job[0]}: a worker does not see it: mount the corpus there, at the same path")
            yield number * size + place, fact
        file.unlink()


def _is_here(source: str) -> bool:
    """Return whether this machine has the file, or the table that TABLE.parquet#COLUMN#ROW is in."""
    return Path(source).is_file() or Path(source.rsplit("#", 2)[0]).is_file()
