"""What a second worker gains: audio facts of a corpus on a local Dask cluster of one worker and of two, in turn.

`python -m bench.cluster FOLDER [--repeat N] [--rounds N]` reads every FLAC and WAV in FOLDER, N times over.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from lsgmer.core.cluster import ClusterParams
from lsgmer.core.workers import connected
from lsgmer.manifests.utterance import Utterance
from lsgmer.validation.facts import audio_facts


def measure(made: list[Utterance], root: Path, workers: int) -> tuple[float, float, dict[str, object]]:
    """Return wall seconds and the workers' CPU seconds of the facts, and the facts; connecting is left out."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        connected(ClusterParams(cluster=f"local:{workers}"), Path(scratch)) as on,
    ):
        assert on is not None
        before = sum(on._client.run(time.process_time).values())
        began = time.monotonic()
        found = audio_facts(made, root, 1, on)
        took = time.monotonic() - began
        return took, sum(on._client.run(time.process_time).values()) - before, dict(found)


def main() -> None:
    """Print each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    root = given.folder.resolve()
    files = sorted(path for path in root.rglob("*") if path.suffix in (".flac", ".wav")) * given.repeat
    made = [
        Utterance(f"u{number}", "bench", "s", "x", "x", "train", audio=str(file.relative_to(root)))
        for number, file in enumerate(files)
    ]
    ratios, known = [], None
    for number in range(given.rounds):
        one, two = (measure(made, root, workers) for workers in (1, 2))
        assert one[2] == two[2] == (known or one[2]), "the facts differ"
        known, ratio = one[2], two[0] / one[0]
        ratios.append(ratio)
        print(
            f"round {number + 1}: {len(made)} files; one worker {one[0]:.1f} s ({one[1]:.1f} CPU), "
            f"two {two[0]:.1f} s ({two[1]:.1f} CPU), {ratio:.2f} of the time",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
