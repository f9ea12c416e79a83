"""Batches encoded by the workers of a cluster: each batch by one of them, so its bytes do not depend on which."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from lsgmer.core.device import choose_device, set_threads
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.workers import Cluster
from lsgmer.encoders.params import FeaturesParams, FinetuneParams
from lsgmer.features.helpers import Readers, Task, encode_all
from lsgmer.features.readers import Readings
from lsgmer.manifests.parquet import read_utterances, write_utterances
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest

READINGS, WORDS = "readings.json", "utterances.parquet"
Item = tuple[str, tuple[str, ...], str]  # the reader's name, the ids of the utterances, the file of the shard


def publish(cluster: Cluster, readings: Readings, validated: Path, threads: int) -> None:
    """Write into the cluster's folder what its workers make their readers of; `validated` is data/validate."""
    write_utterances(cluster.session / WORDS, readings.manifest.utterances, {})
    given = {
        "features": readings.features.model_dump(mode="json", by_alias=True),
        "finetune": readings.finetune.model_dump(mode="json", by_alias=True),
        "root": str(readings.root.absolute()),
        "corpus": str(readings.corpus.absolute()),
        "device": readings.device,
        "validated": str(validated.absolute()),
        "threads": threads,
    }
    write_atomically(cluster.session / READINGS, json.dumps(given))


def encode_there(tasks: Sequence[Task], cluster: Cluster) -> Iterator[None]:
    """Have `tasks` encoded; yield once for each, as it is finished. Raises LsgmerError when one fails."""
    items = [(task.name, tuple(u.id for u in task.utterances), str(task.file.absolute())) for task in tasks]
    for place, failure in cluster.map(encode_item, items):
        if failure:
            raise LsgmerError(f"features-{tasks[place].name}: {failure}")
        yield


def encode_item(session: Path, item: Item) -> None:
    """Encode one batch on a worker, unless its shard is there."""
    name, ids, file = item
    if Path(file).is_file():
        return
    readers, known = _readers(session)
    for _ in encode_all([Task(name, tuple(known[key] for key in ids), Path(file))], readers):
        pass


@lru_cache(maxsize=1)
def _readers(session: Path) -> tuple[Readers, Mapping[str, Utterance]]:
    """Return this worker's readers, and the utterances by id, the perturbed copies included."""
    given = json.loads((session / READINGS).read_text(encoding="utf-8"))
    set_threads(given["threads"])
    choose_device(given["device"])  # the same everywhere, or an error that says so
    utterances, _, _ = read_utterances(session / WORDS, "run the stage again")
    readings = Readings(
        FeaturesParams.model_validate_json(json.dumps(given["features"])),
        FinetuneParams.model_validate_json(json.dumps(given["finetune"])),
        Path(given["root"]),
        Path(given["corpus"]),
        given["device"],
        replace(ValidatedManifest.load(Path(given["validated"])), utterances=utterances),
    )
    augmentation = readings.augmentation()
    every = (*utterances, *augmentation.copies)
    return readings.readers(augmentation=augmentation), {utterance.id: utterance for utterance in every}
