"""How the cost of each stage grows with the corpus: python -m bench.growth text 1000 10000 [--until STAGE].

Makes a corpus of that many generated utterances, with `text` of 1 to 22 words, or `audio` beside it (noise of 1.5 to
3.5 s, 16 kHz FLAC), and runs `dvc repro` on it in a workspace of its own: manifest, validate, features with the
encoders of params.yaml, one epoch, evaluate, gate, package. What each stage cost is what the stage itself recorded
(lsgmer/core/costs.py); what is left of the whole is DVC. The numbers go to docs/performance/growth.json, one entry per
kind and size; `python -m bench growth` writes tables and plot from it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from bench.loso import dump, sentences
from lsgmer.core.costs import read_costs
from lsgmer.core.paths import Workspace
from lsgmer.features.links import refresh_links
from lsgmer.workspace import copies

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "performance" / "growth.json"
RATE = 16_000
LABELS = ("angry", "happy", "neutral", "sad")
PER_SPEAKER = 50
GATE = ("min_over_chance", "min_over_linear", "min_class_recall", "max_ece", "max_subgroup_gap")


def write_corpus(folder: Path, count: int, with_audio: bool) -> None:
    """Write utterances.csv, and its recordings if asked; speakers of 50 utterances, a fifth each in valid and test."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = np.arange(count)
    speakers = rows // PER_SPEAKER
    splits = np.array(["train", "train", "train", "valid", "test"])[speakers % 5]
    frame = pd.DataFrame({"id": [f"u{row:08}" for row in rows], "text": sentences(count, None, random)})
    frame["emotion"] = random.choice(LABELS, count)
    frame["speaker"] = [f"s{speaker:06}" for speaker in speakers]
    frame["split"] = splits
    if with_audio:
        frame["audio"] = [f"{row % 1000:03}/{row}.flac" for row in rows]
        for name in frame["audio"]:
            (folder / name).parent.mkdir(exist_ok=True)
            soundfile.write(folder / name, 0.1 * random.standard_normal(int(RATE * random.uniform(1.5, 3.5))), RATE)
    frame.to_csv(folder / "utterances.csv", index=False)


def overlay(corpus: Path, with_audio: bool) -> dict[str, Any]:
    """Return the parameters: those of params.yaml with one epoch, the smallest controls and the gate switched off."""
    names = ("id", "text", "emotion", "speaker", "split", *(("audio",) if with_audio else ()))
    content: dict[str, Any] = {
        "corpus": {"name": "table", "path": str(corpus), "synthesize": [], "columns": {name: name for name in names}},
        "manifest": {"split": "given"},
        "train": {"epochs": 1, "modality_dropout": 0.1 if with_audio else 0.0},
        "controls": {"variants": [], "linear_c": [0.1]},
        "evaluate": {"robustness_utterances": 0},
        "gate": dict.fromkeys(GATE),
    }
    return content if with_audio else content | {"features": {"audio": {"kind": "none"}}}


def measure(kind: str, count: int, folder: Path, until: str) -> dict[str, Any]:
    """Run the pipeline up to the stage `until` on `count` utterances in `folder` and return what it cost."""
    corpus, root = folder / "corpus", folder / "workspace"
    write_corpus(corpus, count, kind == "audio")
    dump(folder / "overlay.yaml", overlay(corpus, kind == "audio"))
    content, _ = copies.effective(ROOT, folder / "overlay.yaml", [])
    workspace = copies.prepare(ROOT, root, content)
    refresh_links(workspace)
    (root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")  # its own cache, removed with it
    began, before = time.perf_counter(), _children_s()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "dvc", "repro", until]
    with (folder / "output.txt").open("w") as output:
        done = subprocess.run(
            command, cwd=root, env={**os.environ, "PATH": path}, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        raise SystemExit((folder / "output.txt").read_text()[-3000:])
    wall, cpu = time.perf_counter() - began, _children_s() - before
    stages = {cost.stage: _stage(workspace, cost.stage, cost.model_dump()) for cost in read_costs(workspace)}
    rest = {
        f"{name}_s": whole - sum(s[f"{name}_s"] for s in stages.values())
        for name, whole in (("wall", wall), ("cpu", cpu))
    }
    return {
        "kind": kind,
        "utterances": count,
        "cores": os.cpu_count(),
        "threads": content["runtime"]["threads"],
        "stages": stages | {"DVC": rest | {"peak_memory_mib": None, "disk_mib": _mib(root / ".dvc" / "cache")}},
    }


def _stage(workspace: Workspace, name: str, cost: dict[str, Any]) -> dict[str, Any]:
    kept = ("wall_s", "cpu_s", "peak_memory_mib", "load", "processes")
    return {key: cost[key] for key in kept} | {"disk_mib": _mib(workspace.data(name))}


def _mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def keep(result: dict[str, Any]) -> None:
    """Put `result` into RESULTS in place of an earlier one of the same kind and size."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    same = ("kind", "utterances")
    others = [each for each in known if any(each[name] != result[name] for name in same)]
    ordered = sorted([*others, result], key=lambda each: [each[name] for name in same])
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(ordered, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """Measure each size and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("text", "audio"))
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--until", default="package", help="the last stage to run")
    parser.add_argument("--folder", type=Path, help="where the corpora and workspaces are made, and removed again")
    given = parser.parse_args()
    for count in given.sizes:
        folder = Path(tempfile.mkdtemp(prefix="lsgmer-growth-", dir=given.folder))
        try:
            result = measure(given.kind, count, folder, given.until)
        finally:
            shutil.rmtree(folder)
        keep(result)
        for name, cost in result["stages"].items():
            print(f"{given.kind} {count:8} {name:10} {cost['wall_s']:8.1f} s {cost['cpu_s']:8.1f} s CPU", flush=True)


if __name__ == "__main__":
    main()
