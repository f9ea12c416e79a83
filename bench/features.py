"""Time the features stage on 760 short utterances, as many as the sample has: python -m bench.features."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from lsgmer.audio import facts
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SPLITS
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidationReport, write_validated
from lsgmer.params import load_params
from lsgmer.stages.features import run

COUNT, RATE = 760, 16_000
TEXT = "I did not think that you would come all the way out here in this weather"


def corpus(folder: Path, labels: tuple[str, ...]) -> list[Utterance]:
    """Write `COUNT` clips of noise, 1.5 to 3.5 s long, and return them as utterances with a sentence each."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    made = []
    for i in range(COUNT):
        samples = 0.1 * random.standard_normal(int(RATE * random.uniform(1.5, 3.5)))
        soundfile.write(folder / f"{i}.flac", samples, RATE)
        split, emotion = SPLITS[i % 3], labels[i % len(labels)]
        text = " ".join(TEXT.split()[: 5 + i % 12])
        made.append(Utterance(f"u{i:03}", "c", f"s{i}", emotion, emotion, split, audio=f"{i}.flac", text=text))
    return made


def main() -> None:
    """Print how long the stage takes, including loading the encoders but not imports."""
    params = load_params(Path("params.yaml"), ["runtime.device=cpu"])
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        made = corpus(root / params.corpus.path, params.corpus.label_set.names)
        manifest = Manifest(tuple(made), params.corpus.label_set, "c")
        known = {u.id: facts(root / params.corpus.path / str(u.audio)) for u in made}
        report = ValidationReport(passed=True, expectations=(), summary={}, quarantined={}, manifest_hash="")
        write_validated(root / "data" / "validate", manifest, known, report)
        began, used = time.perf_counter(), time.process_time()
        run(Workspace(root), params)
        wall, cpu = time.perf_counter() - began, time.process_time() - used
    print(f"{COUNT} utterances: {wall:.1f} s, {cpu:.1f} s of processor time, {params.runtime.threads} torch thread(s)")


if __name__ == "__main__":
    main()
