"""Convert MELD's video clips to WAV files, once and before any run: `lsgmer import-meld MELD.Raw FOLDER`.

ffmpeg decodes them. An interrupted import resumes where it was, since every clip is written whole or not at all.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lsgmer.core.device import cores
from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.progress import track
from lsgmer.corpora.base import Unfit
from lsgmer.corpora.meld import FAULTY_CLIPS, OFFICIAL, TABLE, clip_of, rows_of

FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
FAILURES = "import_failures.csv"
PART = ".part"  # the suffix of a clip that is not finished
SAMPLE_RATE = 16_000
# Mono 16-bit at SAMPLE_RATE; bitexact and without metadata, so that equal clips give equal bytes.
OPTIONS = ("-vn", "-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le", "-map_metadata", "-1")
BITEXACT = ("-fflags", "+bitexact", "-flags:a", "+bitexact", "-f", "wav")


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: its name as the release has it, the video, and the WAV file it becomes."""

    name: str
    video: Path
    audio: Path


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: clips made now, clips already there, known faulty ones, and failures by clip."""

    made: int
    there: int
    faulty: int
    failures: dict[str, str]


def import_clips(source: Path, destination: Path) -> Imported:
    """Make `destination` a MELD corpus with audio: the three CSVs, wav/{train,dev,test}/*.wav, import_failures.csv.

    `source` is MELD.Raw, unpacked. A clip that fails is named with its reason and does not stop the others.
    Raises LsgmerError without ffmpeg, without a CSV, or for a folder that is its own source.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise LsgmerError("ffmpeg is not on the PATH; it decodes the clips: install it, then run this again")
    if destination.resolve() == source.resolve():
        raise LsgmerError(f"{destination}: give another folder than the source, which is left unchanged")
    clips, faulty = _clips(source, destination)
    for official in OFFICIAL:
        (destination / "wav" / official).mkdir(parents=True, exist_ok=True)
        name = TABLE.format(official)
        write_atomically(destination / name, (source / name).read_bytes())
    todo = [clip for clip in clips if not clip.audio.is_file()]
    failures = {clip.name: reason for clip, reason in zip(todo, _convert_all(ffmpeg, todo), strict=True) if reason}
    _write_failures(destination / FAILURES, failures)
    return Imported(len(todo) - len(failures), len(clips) - len(todo), faulty, failures)


def _clips(source: Path, destination: Path) -> tuple[list[Clip], int]:
    """Return the clips that the CSVs name, and how many were skipped because they are known to be faulty."""
    clips: list[Clip] = []
    faulty = 0
    for official, folder in FOLDERS.items():
        for row in rows_of(source / TABLE.format(official)):
            try:
                dialogue, turn = clip_of(row)
            except Unfit:
                continue  # the manifest rejects the row by name
            if (official, dialogue, turn) in FAULTY_CLIPS:
                faulty += 1
                continue
            name = f"dia{dialogue}_utt{turn}"
            wav = destination / "wav" / official / f"{name}.wav"
            clips.append(Clip(f"{official}/{name}", source / folder / f"{name}.mp4", wav))
    return clips, faulty


def _convert_all(ffmpeg: str, clips: Sequence[Clip]) -> Iterator[str | None]:
    """Yield for each clip, in order, None or why it failed, with progress."""
    pool = ThreadPoolExecutor(cores())  # threads: ffmpeg's processes do the work
    try:
        yield from track(pool.map(lambda clip: _convert(ffmpeg, clip), clips), len(clips), "clips")
    finally:
        pool.shutdown(cancel_futures=True)


def _convert(ffmpeg: str, clip: Clip) -> str | None:
    if not clip.video.is_file():
        return f"no such file in {clip.video.parent.name}"
    part = clip.audio.with_name(clip.audio.name + PART)
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-i", str(clip.video), *OPTIONS, *BITEXACT, str(part)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0 and part.is_file() and part.stat().st_size > 0:
        part.replace(clip.audio)
        return None
    part.unlink(missing_ok=True)
    said = done.stderr.strip().split("\n")[-1].replace(str(clip.video), clip.video.name)
    return f"ffmpeg: {said or f'exit {done.returncode}, nothing written'}"


def _write_failures(path: Path, failures: dict[str, str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("clip", "reason"), *sorted(failures.items())])
    write_atomically(path, text.getvalue())


def announce(source: Path, destination: Path) -> int:
    """Import, print the result, and return the exit code: 1 when a clip failed. Raises LsgmerError."""
    done = import_clips(source, destination)
    print(f"{done.made} clips made, {done.there} already there, {done.faulty} known to be faulty skipped", flush=True)
    for name, reason in sorted(done.failures.items()):
        print(f"failed: {name}: {reason}", flush=True)
    if done.failures:
        print(f"{len(done.failures)} clips failed, listed in {destination / FAILURES}; their rows will be quarantined")
    print(f"now set corpus.path to {destination} and corpus.clips to wav", flush=True)
    return ExitCode.ERROR if done.failures else ExitCode.DONE


def main() -> None:
    """Run `python -m lsgmer.corpora.meld_import SOURCE DESTINATION`."""
    if len(sys.argv) != 3:
        print("usage: python -m lsgmer.corpora.meld_import MELD.Raw FOLDER", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    try:
        sys.exit(announce(Path(sys.argv[1]), Path(sys.argv[2])))
    except LsgmerError as error:
        print(f"import-meld: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
