"""Row `corpus`: manifest + validate of text rows, each side in a fresh process: time, peak memory, GX's own share.

The control reads the same table with pandas, applies the same checks to columns, and writes Parquet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.growth import overlay, write_corpus
from bench.loso import dump
from bench.paired import Pair, Sample, cpu_s
from lsgmer.core.costs import MIB, MemorySampler, age_s

ROOT = Path(__file__).parents[1]
COUNT = int(os.environ.get("BENCH_CORPUS_ROWS", "100000"))
GX: dict[str, float] = {}


def pairs() -> list[Pair]:
    """Return the row."""
    folder = tempfile.TemporaryDirectory(prefix="lsgmer-bench-")
    root, shares = Path(folder.name), list[float]()
    write_corpus(root / "corpus", COUNT, False)
    dump(root / "overlay.yaml", overlay(root / "corpus", False))

    def ours() -> Sample:
        found = alone("ours", root)
        shares.append(found["gx_cpu_s"] / found["cpu_s"])
        return sample_of(found)

    def share() -> dict[str, str]:
        middle = sorted(shares)[len(shares) // 2]
        return {"Great Expectations' share": f"{middle:.0%} of CPU time"}

    return [
        Pair(
            "corpus",
            f"the stages manifest and validate on {COUNT} rows of text, imports included",
            "pandas: read_csv, the same checks on whole columns, to_parquet, imports included",
            ours,
            lambda: sample_of(alone("control", root)),
            COUNT,
            "row",
            warm_up=False,
            notes=share,
            holds=folder,
        )
    ]


def alone(side: str, folder: Path) -> dict[str, Any]:
    """Run one side in a process of its own and return what it measured of itself."""
    command = [sys.executable, "-m", "bench.corpus_rows", side, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def sample_of(found: dict[str, Any]) -> Sample:
    """Return the Sample of what `alone` returned."""
    return Sample(found["wall_s"], found["cpu_s"], found["peak_mib"])


def stages(folder: Path) -> None:
    """Run manifest and validate, noting the CPU time inside Great Expectations, its import included."""
    from lsgmer.core.paths import Workspace
    from lsgmer.core.sections import read_sections
    from lsgmer.params import read_layers
    from lsgmer.stages import manifest, validate
    from lsgmer.validation import checker

    content, _ = read_layers(ROOT / "params.yaml", folder / "overlay.yaml")
    dump(folder / "params.yaml", content)
    inner = {"__init__": checker.Checker.__init__, "check": checker.Checker.check}

    def noted(name: str) -> Any:
        def call(*given: Any) -> Any:
            before = cpu_s()
            try:
                return inner[name](*given)
            finally:
                GX["cpu_s"] = GX.get("cpu_s", 0.0) + cpu_s() - before

        return call

    for name in inner:
        setattr(checker.Checker, name, noted(name))
    workspace = Workspace(folder)
    manifest.run(workspace, read_sections(workspace.params, manifest.Needs))
    validate.run(workspace, read_sections(workspace.params, validate.Needs))


def plain(folder: Path) -> None:
    """Do with pandas what both stages do for rows of text: the checks, the groups, and a table on disk."""
    import pandas as pd

    rows = pd.read_csv(folder / "corpus" / "utterances.csv", dtype=str)
    rows["text"] = rows["text"].str.strip()
    found = {
        "ids unique": rows["id"].is_unique,
        "labels known": rows["emotion"].isin(["angry", "happy", "neutral", "sad"]).all(),
        "splits known": rows["split"].isin(["train", "valid", "test"]).all(),
        "content": rows["text"].notna().all() and rows["text"].str.len().gt(0).all(),
        "intact": not rows["text"].str.contains("\ufffd", regex=False).any(),
        "speakers apart": rows.groupby("speaker")["split"].nunique().le(1).all(),
        "splits filled": set(rows["split"]) == {"train", "valid", "test"},
        "labels in all": (pd.crosstab(rows["emotion"], rows["split"]) > 0).all(axis=None),
        "shares": rows["emotion"].value_counts(normalize=True).min() >= 0.02,
    }
    shared = rows.groupby("text")["split"].nunique().gt(1).sum()
    if not all(found.values()):
        raise SystemExit(f"the generated rows are faulty: {found}")
    rows.sort_values("id").to_parquet(folder / "plain.parquet", compression="zstd")
    (folder / "plain.json").write_text(
        json.dumps({name: bool(ok) for name, ok in found.items()} | {"shared": int(shared)})
    )


def main() -> None:
    """Run one side and print its cost as the last line."""
    side, folder = sys.argv[1], Path(sys.argv[2])
    with MemorySampler() as memory:
        (stages if side == "ours" else plain)(folder)
    wall, used = age_s(), cpu_s()
    found = {"wall_s": wall, "cpu_s": used, "peak_mib": memory.peak / MIB, "gx_cpu_s": GX.get("cpu_s", 0.0)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
