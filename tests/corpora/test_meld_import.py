"""The import of MELD's clips, with a stand-in for ffmpeg: resumable, whole files only, failures by name."""

from __future__ import annotations

import csv
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lsgmer.cli import main
from lsgmer.core.errors import LsgmerError
from lsgmer.corpora.meld_import import FOLDERS, import_clips
from lsgmer.params import read_layers
from tests.support import meld_release

ROOT = Path(__file__).parents[2]

# Stands in for ffmpeg: the last argument is the output, -i names the input; what is in the input decides.
FFMPEG = """#!/bin/sh
for last; do [ "$before" = -i ] && input=$last; before=$last; done
echo "$input" >> "$CALLS"
case $(cat "$input") in
  *silent*) echo "Output file #0 does not contain any stream" >&2; exit 1;;
  *broken*) printf half > "$last"; echo "$input: Invalid data found when processing input" >&2; exit 183;;
  *empty*) : > "$last";;
  *half*) cp "$WAV" "$last"; echo "[info]   Duration: 00:00:03.00, start: 0.000000, bitrate: 5 kb/s" >&2;;
  *whole*) cp "$WAV" "$last"; echo "  Duration: 00:00:02.20, start: 0.000000, bitrate: 5 kb/s" >&2;;
  *damaged*) cp "$WAV" "$last"; echo "[info] title: an error" >&2; echo "[aac @ 0x5] [warning] odd layout" >&2
    echo "[aac @ 0x5] [error] Input buffer exhausted" >&2; echo "[error] Error submitting packet" >&2;;
  *plain*) cp "$WAV" "$last"; echo "Error while decoding stream #0:1: Invalid data found" >&2;;
  *endless*) cp "$WAV" "$last"; echo "  Duration: N/A, bitrate: N/A" >&2;;
  *) printf RIFF > "$last";;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG)
    program.chmod(0o755)
    monkeypatch.setenv("WAV", str(tmp_path / "two_seconds.wav"))
    soundfile.write(tmp_path / "two_seconds.wav", np.zeros(32_000), 16_000)
    log = tmp_path / "calls"
    log.touch()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(log))
    return log


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """MELD.Raw: a clip per row, one more than the CSV knows, two bad ones, one missing, one known to be faulty."""
    root = tmp_path / "MELD.Raw"
    dev = meld_release.rows("dev")
    dev[5] |= {"Dialogue_ID": "110", "Utterance_ID": "7"}
    meld_release.write(root, {"dev": dev})
    for official, folder in FOLDERS.items():
        (root / folder).mkdir()
        for row in dev if official == "dev" else meld_release.rows(official):
            (root / folder / f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4").write_text("video")
    (root / "dev_splits_complete" / "dia9_utt9.mp4").write_text("video")
    (root / "dev_splits_complete" / "dia0_utt0.mp4").write_text("silent")
    (root / "test_splits").mkdir()
    (root / "output_repeated_splits_test" / "dia0_utt2.mp4").write_text("broken")
    (root / "output_repeated_splits_test" / "dia0_utt4.mp4").write_text("empty")
    (root / "train_splits" / "dia1_utt0.mp4").unlink()
    return root


def failures(folder: Path) -> dict[str, str]:
    with (folder / "import_failures.csv").open(newline="") as file:
        return {row["clip"]: row["reason"] for row in csv.DictReader(file)}


def test_every_clip_that_the_csvs_name_is_made_or_named(calls: Path, raw: Path, tmp_path: Path) -> None:
    made = tmp_path / "meld"
    done = import_clips(raw, made)
    assert (done.made, done.there, done.faulty) == (37, 0, 1)
    assert done.failures == failures(made)
    assert failures(made) == {
        "dev/dia0_utt0": "ffmpeg: Output file #0 does not contain any stream",
        "test/dia0_utt2": "ffmpeg: dia0_utt2.mp4: Invalid data found when processing input",
        "test/dia0_utt4": "ffmpeg: exit 0, nothing written",
        "train/dia1_utt0": "no such file in train_splits",
    }
    wavs = {file.relative_to(made / "wav").as_posix() for file in (made / "wav").rglob("*") if file.is_file()}
    assert len(wavs) == 37  # no half-written file among them
    assert "dev/dia9_utt9.wav" not in wavs
    assert (made / "dev_sent_emo.csv").read_bytes() == (raw / "dev_sent_emo.csv").read_bytes()


def test_a_second_run_makes_only_what_is_missing(calls: Path, raw: Path, tmp_path: Path) -> None:
    import_clips(raw, tmp_path / "meld")
    calls.write_text("")
    (tmp_path / "meld/wav/train/dia0_utt0.wav").unlink()
    (tmp_path / "meld/wav/train/dia0_utt2.wav.part").write_text("of a run that was killed")
    (raw / "dev_splits_complete" / "dia0_utt0.mp4").write_text("video, mended")
    done = import_clips(raw, tmp_path / "meld")
    assert (done.made, done.there) == (2, 36)
    assert "dev/dia0_utt0" not in failures(tmp_path / "meld")
    tried = {Path(line).name for line in calls.read_text().split()}
    assert tried == {"dia0_utt0.mp4", "dia0_utt2.mp4", "dia0_utt4.mp4"}


def test_without_ffmpeg_nothing_is_begun(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LsgmerError, match="ffmpeg is not on the PATH"):
        import_clips(raw, tmp_path / "meld")
    assert not (tmp_path / "meld").exists()


def test_the_source_stays_as_it_is(calls: Path, raw: Path) -> None:
    with pytest.raises(LsgmerError, match="another folder than the source"):
        import_clips(raw, raw)
    (raw / "train_sent_emo.csv").unlink()
    with pytest.raises(LsgmerError, match=r"train_sent_emo\.csv: no such file"):
        import_clips(raw, raw.with_name("meld"))


@pytest.mark.parametrize("beside", [True, False])
def test_the_release_is_found_as_it_unpacks(calls: Path, raw: Path, tmp_path: Path, beside: bool) -> None:
    """In train/, dev/ and test/, with the CSVs there or beside them, and the whole in a folder of its own name."""
    for official, folder in FOLDERS.items():
        (raw / official).mkdir()
        (raw / folder).rename(raw / official / folder)
        if not beside:
            (raw / f"{official}_sent_emo.csv").rename(raw / official / f"{official}_sent_emo.csv")
    (raw / "test" / FOLDERS["test"] / "dia0_utt0.mp4").rename(raw / "test" / FOLDERS["test"] / "dia0_utt0.MP4")
    (raw / "dev" / "__MACOSX" / FOLDERS["dev"]).mkdir(parents=True)
    raw.rename(tmp_path / "moved")
    (tmp_path / "MELD.Raw").mkdir()
    (tmp_path / "moved").rename(tmp_path / "MELD.Raw" / "MELD.Raw")
    for _ in range(2):  # the second time with the result inside the source
        done = import_clips(raw, raw / "meld")
        assert set(done.failures) == {"dev/dia0_utt0", "test/dia0_utt2", "test/dia0_utt4", "train/dia1_utt0"}
    assert len(list((raw / "meld" / "wav").rglob("*.wav"))) == 37


def test_what_is_not_unpacked_or_there_twice_is_said(calls: Path, raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "again")
    shutil.rmtree(raw / FOLDERS["train"])
    with pytest.raises(LsgmerError, match=r"train_splits: no such folder of clips.*; unpack MELD\.Raw again"):
        import_clips(raw, tmp_path / "meld")
    (raw / "train.tar.gz").touch()
    with pytest.raises(LsgmerError, match=r"train_splits: no such folder of clips.*; unpack .*/train\.tar\.gz"):
        import_clips(raw, tmp_path / "meld")
    for place in ("a", "b"):
        (tmp_path / "again" / place).mkdir()
        (tmp_path / "again" / place / "dev_sent_emo.csv").write_text(place)
    (tmp_path / "again" / "dev_sent_emo.csv").unlink()
    with pytest.raises(LsgmerError, match=r"a/dev_sent_emo\.csv and .*b/dev_sent_emo\.csv differ"):
        import_clips(tmp_path / "again", tmp_path / "meld")
    assert not (tmp_path / "meld").exists()


FFPROBE = """#!/bin/sh
for last; do :; done
case $(cat "$last") in
  *endless*) echo N/A; echo 9.5;;
  *whole*) echo 2.05; echo 2.9;;
  *) exit 1;;
esac
"""


@pytest.mark.parametrize("probed", [True, False])
def test_a_clip_that_decodes_in_part_is_a_failure_by_name(calls: Path, raw: Path, tmp_path: Path, probed: bool) -> None:
    """ffmpeg exits with 0 all the same."""
    kinds = {
        "dia0_utt0": "half",
        "dia0_utt2": "whole",
        "dia0_utt4": "damaged",
        "dia0_utt6": "plain",
        "dia0_utt8": "endless",
    }
    for name, kind in kinds.items():
        (raw / FOLDERS["train"] / f"{name}.mp4").write_text(kind)
    if probed:
        (tmp_path / "bin" / "ffprobe").write_text(FFPROBE)
        (tmp_path / "bin" / "ffprobe").chmod(0o755)
    import_clips(raw, tmp_path / "meld")
    found = {name: reason for name, reason in failures(tmp_path / "meld").items() if name.startswith("train/dia0")}
    expected = {
        "train/dia0_utt0": "decoded only in part: 2.00 of 3.00 s",
        "train/dia0_utt4": "decoded with errors, perhaps only in part; ffmpeg: [aac @ 0x5] Input buffer exhausted "
        "(and 1 more)",
        "train/dia0_utt6": "decoded with errors, perhaps only in part; ffmpeg: Error while decoding stream #0:1: "
        "Invalid data found",
    }
    assert found == expected | ({"train/dia0_utt8": "decoded only in part: 2.00 of 9.50 s"} if probed else {})
    there = {path.stem for path in (tmp_path / "meld/wav/train").iterdir()}
    assert there & kinds.keys() == {"dia0_utt2"} | (set() if probed else {"dia0_utt8"})
    assert not list((tmp_path / "meld").rglob("*.part"))


def test_the_command_says_what_to_do_next_and_exits_1_on_failures(
    calls: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lsgmer", "import-meld", str(raw), str(tmp_path / "meld")])
    with pytest.raises(SystemExit) as caught:
        main()
    shown = capsys.readouterr().out
    assert caught.value.code == 1
    assert "37 clips made, 0 already there, 1 known to be faulty" in shown
    assert "failed: train/dia1_utt0: no such file in train_splits" in shown
    assert f"set corpus.path to {tmp_path / 'meld'} and corpus.clips to wav" in shown
    command = shown.strip().split("\n")[-1]
    settings = [word for before, word in pairwise(shlex.split(command)) if before == "--set"]
    _, params = read_layers(ROOT / "params.yaml", ROOT / "params" / "meld.yaml", settings)
    assert (params.corpus.path, params.corpus.clips) == (str(tmp_path / "meld"), "wav")
    assert params.features.audio.kind == "logmel"


def test_the_module_runs_on_its_own(raw: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lsgmer.corpora.meld_import"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.split()[0]) == (2, "usage:")
