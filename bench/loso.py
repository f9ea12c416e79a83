"""Time a study of IEMOCAP's size and shape: python -m bench.loso [--rows 5531] [--jobs 2].

5,531 generated rows in five sessions of two speakers each, one precomputed vector of eight numbers and one English
sentence per row, five folds by session, three seeds. Prints the minutes that `lsgmer experiments run` took; the numbers
in its report mean nothing, because the rows are generated. Give --text CSV COLUMN for real sentences.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
from ruamel.yaml import YAML

from lsgmer.core.sections import read_yaml

ROOT = Path(__file__).parents[1]
SESSIONS = (1085, 1023, 1151, 1031, 1241)
SHARES = {"ang": 1103, "hap": 1636, "sad": 1084, "neu": 1708}
WORDS = "I did not think that you would come all the way out here in this weather to tell me about the old house"


def sentences(count: int, source: tuple[str, str] | None, random: np.random.Generator) -> list[str]:
    """Return `count` sentences: drawn from a CSV's column, or made of `WORDS`, 1 to 22 words long."""
    if source is not None:
        return list(random.choice(pd.read_csv(source[0])[source[1]].dropna().astype(str).to_numpy(), count))
    words = WORDS.split()
    return [" ".join(random.choice(words, random.integers(1, 23))) for _ in range(count)]


def write_corpus(folder: Path, rows: int, source: tuple[str, str] | None) -> None:
    """Write rows.csv and audio.parquet, whose vectors depend weakly on the label."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = list(SHARES)
    labels = random.choice(len(names), rows, p=np.array(list(SHARES.values())) / sum(SHARES.values()))
    sessions = 1 + np.searchsorted(np.cumsum(SESSIONS) / sum(SESSIONS), np.arange(rows) / rows, side="right")
    ids = [f"Ses{session:02}_{row:05}" for row, session in enumerate(sessions)]
    frame = pd.DataFrame({"id": ids, "session": sessions, "emotion": [names[label] for label in labels]})
    frame["speaker"] = [f"{session}{random.choice(['F', 'M'])}" for session in sessions]
    frame["text"] = sentences(rows, source, random)
    frame.to_csv(folder / "rows.csv", index=False)
    values = random.normal(size=(rows, 8)) + np.eye(8)[labels]
    parquet.write_table(pa.table({"id": ids, "values": values.tolist()}), folder / "audio.parquet")


def write_study(root: Path) -> None:
    """Write params/own.yaml and the `own` entries of experiments/params.yaml, as docs/experiments.md says."""
    columns = {name: name for name in ("id", "text", "emotion", "speaker", "session")}
    labels = [{"name": name, "description": name} for name in SHARES]
    corpus = {"name": "table", "path": "../corpus", "synthesize": [], "table": "rows.csv", "columns": columns}
    corpus |= {"labels": labels, "label_map": {}, "expected_counts": {}}
    dump(root / "params" / "own.yaml", {"corpus": corpus, "features": {"audio": PRECOMPUTED}})
    path = root / "experiments" / "params.yaml"
    plan = read_yaml(path)
    plan["sources"]["own"] = {"params": "params/own.yaml", "corpus": "../corpus", "protocol": PROTOCOL}
    plan["studies"]["own"] = {"title": "IEMOCAP-shaped", "source": "own", "set": {"train.batch_size": 64}}
    plan["grids"]["own"] = {"studies": ["own"], "variants": ["full"], "folds": [0, 1, 2, 3, 4], "seeds": [1, 2, 3]}
    dump(path, plan)


PRECOMPUTED = {"kind": "precomputed", "source": "audio.parquet"}
PROTOCOL = {"kind": "loso", "by": "session"}


def dump(path: Path, content: dict[str, object]) -> None:
    """Write `content` as YAML."""
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(content, file)


def main() -> None:
    """Run the study in a clone in a temporary folder and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=sum(SESSIONS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--text", nargs=2, metavar=("CSV", "COLUMN"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lsgmer-loso-"))
    try:
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "project")], check=True)
        source = (str(Path(given.text[0]).resolve()), given.text[1]) if given.text else None
        write_corpus(folder / "corpus", given.rows, source)
        write_study(folder / "project")
        began = time.perf_counter()
        command = [sys.executable, "-m", "lsgmer.cli", "experiments", "run", "--grid", "own", "--jobs", str(given.jobs)]
        subprocess.run(command, cwd=folder / "project", check=True)
        minutes = (time.perf_counter() - began) / 60
        print(f"{given.rows} rows, 5 folds x 3 seeds, {given.jobs} processes: {minutes:.1f} minutes")
        subprocess.run([*command[:4], "report", "--grid", "own"], cwd=folder / "project", check=True)
        print((folder / "project" / "experiments" / "report" / "results.md").read_text())
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
