"""`lsgmer check` says in seconds what a run would find, the likeliest cause first, without torch or Prefect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
TABLE = [
    "--set", "corpus.name=table", "--set", "corpus.path=corpus", "--set", "corpus.synthesize=[]",
    "--set", "corpus.table=t.csv", "--set", "corpus.label_map={}", "--set", "manifest.split=given",
    "--set", "corpus.columns={id: id, text: text, audio: audio, emotion: emotion, speaker: speaker, split: split}",
    "--set", "validate.processes=1",
]  # fmt: skip
HEADER = "id,audio,text,emotion,speaker,split"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project folder with a corpus of 24 good rows."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus" / "a.wav", 0.1 * np.random.default_rng(1).normal(size=16000), 16000)
    rows = [
        f"{split}{i}{emotion},{'a.wav' if split == 'train' and not i else ''},words {i},{emotion},S-{split},{split}"
        for split in ("train", "valid", "test") for i in range(2) for emotion in ("angry", "happy", "neutral", "sad")
    ]  # fmt: skip
    (tmp_path / "corpus" / "t.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path


def check(folder: Path, *arguments: str) -> tuple[int, str, str]:
    code = (
        "import sys; from lsgmer.cli import app; from lsgmer.core.errors import LsgmerError\n"
        f"try: app({['check', *TABLE, *arguments]!r})\n"
        "except SystemExit as end: code = end.code\n"
        "except LsgmerError as error: code = error.exit_code; print(error, file=sys.stderr)\n"
        "print('heavy:', sorted({'torch', 'prefect', 'great_expectations', 'transformers'} & set(sys.modules)))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_good_corpus_is_described(folder: Path) -> None:
    code, said, error = check(folder)
    assert code == 0, said + error
    assert "rows      24 usable, 0 rejected, 0 left out" in said
    assert "labels    angry 6, happy 6, neutral 6, sad 6" in said
    assert "train     8 utterances of 1 speakers" in said
    assert "audio     0.00 hours, 1.0 to 1.0 s" in said
    assert "24 texts by transformers: about" in said
    assert "next  lsgmer run" in said
    assert "heavy: []" in said


def test_faults_are_counted_and_named(folder: Path) -> None:
    table = folder / "corpus" / "t.csv"
    table.write_text(table.read_text() + 'x,,"open,sad,S9,train\ny,b.wav,,sad,S9,train\nz,,hm,bored,S9,train\n')
    code, said, _ = check(folder)
    assert code == 1
    assert 'rejected  1 x a quotation mark (") opens a cell that it does not close; remove or double it: row 26' in said
    assert "rejected  1 x unknown emotion 'bored'" in said
    assert "faulty    1 x missing: y" in said
    assert "problem   3 of 27 rows are rejected or faulty, more than validate.max_rejected_share (0.05)" in said


def test_rejected_and_faulty_rows_are_counted_together_as_a_run_does(folder: Path) -> None:
    table = folder / "corpus" / "t.csv"
    table.write_text(table.read_text() + "y,b.wav,,sad,S-train,train\nz,,hm,bored,S-train,train\n")
    assert check(folder, "--set", "validate.max_rejected_share=0.05")[0] == 1  # 2 of 26; each alone is under it
    assert check(folder, "--set", "validate.max_rejected_share=0.08")[0] == 0


def test_with_no_row_left_the_cause_comes_first(folder: Path) -> None:
    code, said, error = check(folder, "--set", "corpus.label_map={angry: null, happy: null, neutral: null, sad: null}")
    assert (code, said) == (1, "heavy: []\n")
    assert "no row can be used" in error
    assert "6 x emotion 'angry' is left out by corpus.label_map" in error
    assert "salt" not in error


def test_a_label_without_rows_comes_before_the_salt(folder: Path) -> None:
    (folder / "corpus" / "t.csv").write_text(f"{HEADER}\na,,hm,sad,S1,\nb,,hm,sad,S2,\n")
    code, said, _ = check(folder, "--set", "manifest.split=speaker")
    assert code == 1
    assert "problem   no row has the label angry or happy or neutral" in said
    assert "salt" not in said


def test_a_wrong_column_is_named(folder: Path) -> None:
    code, said, error = check(folder, "--set", "corpus.columns.text=words")
    assert (code, said) == (1, "heavy: []\n")
    assert "no column 'words' (corpus.columns.text)" in error


def test_another_table_can_be_checked(folder: Path) -> None:
    other = folder / "other.tsv"
    other.write_text("\t".join(HEADER.split(",")) + "\nq\t\tonly words\tsad\tS1\ttrain\n")
    code, said, _ = check(folder, "--table", "other.tsv")
    assert code == 1
    assert "rows      1 usable" in said
    assert "problem   " in said
