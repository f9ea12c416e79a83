"""Extraction against plain loops over transformers, and on two cores against one: python -m bench.extraction.

Three parts: `minilm` (words of MELD, one thread), `base` (HuBERT-base and RoBERTa-base with random weights, all cores)
and `cores` (facts and logmel of recordings). Rounds are interleaved, and ratios are of the same round, because other
jobs may load the machine: wall time, and the processor time of the process with its children.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from lsgmer.core.paths import Workspace
from lsgmer.core.records import SPLITS
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidationReport, write_validated
from lsgmer.params import load_params

RATE = 16_000
RESULT = "bench: "
MELD = Path("../shared/data/meld/train_sent_emo.csv")
LOGMEL = ("features.audio={kind: logmel}", "features.text={kind: none}")
IMPORTED = (
    *(f"transformers.models.{name}" for name in ("bert.modeling_bert", "hubert.modeling_hubert")),
    *("transformers.models.roberta.modeling_roberta", "lsgmer.stages.features", "lsgmer.validation.frame"),
)
MAY_USE = len(os.sched_getaffinity(0))


def seconds(clock: str) -> float:
    """Return a subtitle's time in seconds."""
    return sum(float(part) * unit for part, unit in zip(clock.replace(",", ".").split(":"), (3600, 60, 1), strict=True))


def meld(count: int, shortest_s: float = 0.3, longest_s: float = 35.0) -> list[tuple[str, float]]:
    """Return (words, duration in seconds) of `count` utterances, spread over MELD's training part."""
    with MELD.open(encoding="utf-8") as file:
        rows = [(r["Utterance"], seconds(r["EndTime"]) - seconds(r["StartTime"])) for r in csv.DictReader(file)]
    rows = [row for row in rows if shortest_s <= row[1] <= longest_s and row[0].strip()]
    return [rows[i * len(rows) // count] for i in range(count)]


def make(root: Path, rows: Sequence[tuple[str, float]], overrides: Sequence[str], audio: bool) -> None:
    """Fill the workspace `root` with recordings of noise of the given durations, and params.yaml."""
    random = np.random.default_rng(0)
    params = load_params(Path("params.yaml"), [*overrides, "runtime.device=cpu"])
    corpus = root / params.corpus.path
    corpus.mkdir(parents=True)
    labels, made = params.corpus.label_set.names, []
    for i, (text, length) in enumerate(rows):
        if audio:
            noise = 0.1 * random.standard_normal(int(RATE * length))
            soundfile.write(corpus / f"{i}.wav", noise, RATE, subtype="PCM_16")
        emotion, split = labels[i % len(labels)], SPLITS[i % 3]
        sound = f"{i}.wav" if audio else None
        made.append(Utterance(f"u{i:05}", "c", f"s{i % 9}", emotion, emotion, split, audio=sound, text=text))
    manifest = Manifest(tuple(made), params.corpus.label_set, "c")
    manifest.save(root / "data" / "manifest", (), ())
    (root / "overrides.json").write_text(json.dumps([*overrides, "runtime.device=cpu"]))


def facts(root: Path) -> None:
    """Read the audio facts of the workspace, as validation does, and write the validated manifest."""
    from lsgmer.validation.facts import audio_facts

    params = load_params(Path("params.yaml"), json.loads((root / "overrides.json").read_text()))
    manifest = Manifest.load(root / "data" / "manifest", params.corpus.label_set)
    known = audio_facts([u for u in manifest.utterances if u.audio], root / params.corpus.path, 0)
    report = ValidationReport(passed=True, expectations=(), summary={}, quarantined={}, manifest_hash="")
    write_validated(root / "data" / "validate", manifest, known, report)


def extraction(root: Path) -> None:
    """Run the stage."""
    from lsgmer.stages.features import run

    run(Workspace(root), load_params(Path("params.yaml"), json.loads((root / "overrides.json").read_text())))


def plain(root: Path) -> None:
    """Encode everything as a loop over transformers does, one utterance at a time; keep each one's frames."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer

    params = load_params(Path("params.yaml"), json.loads((root / "overrides.json").read_text()))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    manifest = Manifest.load(root / "data" / "manifest", params.corpus.label_set)
    found: dict[str, Any] = {}
    with torch.inference_mode():
        if params.features.audio.kind == "transformers":
            extractor = AutoFeatureExtractor.from_pretrained(params.features.audio.source)
            model = AutoModel.from_pretrained(params.features.audio.source).eval()
            for u in manifest.utterances:
                samples, rate = soundfile.read(root / params.corpus.path / str(u.audio), dtype="float32")
                inputs = extractor(samples, sampling_rate=rate, return_tensors="pt")
                found[f"{u.id}-audio"] = model(inputs["input_values"]).last_hidden_state[0].numpy()
        source = params.features.text.source
        folder = package(source) if source.startswith("package:") else source
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
        for u in manifest.utterances:
            inputs = tokenizer(u.text, return_tensors="pt", truncation=True, max_length=params.features.text.max_tokens)
            found[f"{u.id}-text"] = model(**inputs).last_hidden_state[0].numpy()
    np.savez(root / "plain.npz", **found)


def package(source: str) -> Path:
    """Return the folder of a packaged encoder."""
    from lsgmer.encoders.weights import find_files

    return find_files(source, None, None, Path()).folder


def difference(root: Path) -> float:
    """Return the largest difference between the feature store and what `plain` found."""
    from lsgmer.features.store import FeatureSplit

    most = 0.0
    with np.load(root / "plain.npz") as known:
        for name in SPLITS:
            split = FeatureSplit.load(root / "data" / "features" / name)
            for i, key in enumerate(split.ids):
                for modality in ("audio", "text"):
                    if (values := split.features(modality, i)) is not None:
                        most = max(most, float(np.abs(values - known[f"{key}-{modality}"]).max()))
    return most


TASKS: dict[str, Callable[[Path], None]] = {"facts": facts, "extraction": extraction, "plain": plain}


def child(root: Path, tasks: Sequence[str], cores: int) -> None:
    """Run `tasks` on the first `cores` cores, and print wall and processor seconds, imports left out."""
    for name in IMPORTED:
        importlib.import_module(name)

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    began, used = time.perf_counter(), processor()
    for task in tasks:
        TASKS[task](root)
    wall = time.perf_counter() - began
    forkserver._forkserver._stop()  # waits for it: only then are its children's processor seconds ours
    print(f"{RESULT}{wall} {processor() - used}")


def processor() -> float:
    """Return the processor seconds of this process and its finished children."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def timed(root: Path, tasks: Sequence[str], cores: int, threads: int) -> tuple[float, float]:
    """Return wall and processor seconds of `tasks` in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "bench.extraction", "--child", str(root), *tasks, "--cores", str(cores)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    wall, cpu = next(line for line in done.stdout.splitlines() if line.startswith(RESULT)).split()[1:]
    return float(wall), float(cpu)


def compare(name: str, rounds: int, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    """Time both, in turn first and second, and print each round and the median ratios."""
    ratios = []
    for i in range(rounds):
        pairs = [("ours", ours), ("theirs", theirs)]
        took = {who: run() for who, run in (pairs if i % 2 else pairs[::-1])}
        ratios.append([theirs_s / ours_s for ours_s, theirs_s in zip(took["ours"], took["theirs"], strict=True)])
        mine, other = took["ours"], took["theirs"]
        print(
            f"{name}: {mine[0]:.1f} s against {other[0]:.1f} s, x {ratios[-1][0]:.2f}; "
            f"processor {mine[1]:.1f} s against {other[1]:.1f} s, x {ratios[-1][1]:.2f}",
            flush=True,
        )
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"{name}: median of {rounds}: x {wall:.2f} in wall time, x {cpu:.2f} in processor time", flush=True)


def minilm(folder: Path, count: int, rounds: int) -> None:
    """MiniLM at MELD's lengths, one thread and one core, against one text at a time."""
    root = folder / "minilm"
    make(root, meld(count), ["features.audio={kind: none}"], audio=False)
    facts(root)
    compare(
        f"minilm, {count} texts, one thread",
        rounds,
        lambda: timed(root, ["extraction"], 1, 1),
        lambda: timed(root, ["plain"], 1, 1),
    )
    print(f"minilm: values within {difference(root):.1e}")


def base(folder: Path, count: int, rounds: int) -> None:
    """HuBERT-base and RoBERTa-base shapes, random weights, on all cores, against a loop with all threads."""
    root = folder / "base"
    make(root, meld(count), [*save_base(folder / "models")], audio=True)
    facts(root)
    compare(
        f"hubert + roberta, {count} utterances, {MAY_USE} cores",
        rounds,
        lambda: timed(root, ["extraction"], MAY_USE, 1),
        lambda: timed(root, ["plain"], MAY_USE, MAY_USE),
    )
    print(f"hubert + roberta: values within {difference(root):.1e}")


def save_base(folder: Path) -> list[str]:
    """Save both encoders, and return the parameters that name them. The tokenizer is MiniLM's."""
    import torch
    from transformers import AutoTokenizer, HubertConfig, HubertModel, RobertaConfig, RobertaModel
    from transformers import Wav2Vec2FeatureExtractor as Extractor

    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder / "hubert")
    Extractor().save_pretrained(folder / "hubert")
    tokenizer = AutoTokenizer.from_pretrained(package(load_params(Path("params.yaml")).features.text.source))
    tokenizer.save_pretrained(folder / "roberta")
    config = RobertaConfig(max_position_embeddings=514, pad_token_id=tokenizer.pad_token_id)
    RobertaModel(config).save_pretrained(folder / "roberta")
    return [
        f"features.audio={{kind: transformers, source: {folder / 'hubert'}}}",
        f"features.text={{kind: transformers, source: {folder / 'roberta'}}}",
    ]


def cores(folder: Path, count: int, rounds: int) -> None:
    """Facts and logmel features on two cores against one."""
    root = folder / "cores"
    make(root, meld(count), LOGMEL, audio=True)
    compare(
        f"facts + logmel, {count} utterances, 2 cores against 1",
        rounds,
        lambda: timed(root, ["facts", "extraction"], 2, 1),
        lambda: timed(root, ["facts", "extraction"], 1, 1),
    )


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=("minilm", "base", "cores"), default=["minilm", "base", "cores"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--utterances", type=int, default=120, help="of HuBERT + RoBERTa")
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(Path(given.child[0]), given.child[1:], given.cores)
        return
    counts = {"minilm": given.texts, "base": given.utterances, "cores": given.recordings}
    with tempfile.TemporaryDirectory(prefix="lsgmer-bench-") as name:
        for part in given.parts:
            {"minilm": minilm, "base": base, "cores": cores}[part](Path(name), counts[part], given.rounds)


if __name__ == "__main__":
    main()
