"""Convert MELD's video clips to WAV files, once and before any run: `lsgmer import-meld MELD.Raw FOLDER`.

ffmpeg decodes them. An interrupted import resumes where it was, since every clip is written whole or not at all. ffmpeg
exits with 0 after decoding part of a damaged clip, so its messages and the length of what it wrote are checked.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lsgmer.core.device import cores
from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.progress import track
from lsgmer.core.records import Seconds
from lsgmer.corpora.base import Unfit, as_named
from lsgmer.corpora.meld import FAULTY_CLIPS, OFFICIAL, TABLE, clip_of, rows_of

FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
CLIP = re.compile(r"dia\d+_utt\d+\.mp4", re.IGNORECASE)
DEPTH = 3  # how many folders below the source a split's folder or table may lie
FAILURES = "import_failures.csv"
PART = ".part"  # the suffix of a clip that is not finished
SAMPLE_RATE = 16_000
ENCODER = "{kind: logmel, n_mels: 64, hop_ms: 40.0}"  # of the command that is proposed: it needs no weights
# Mono 16-bit at SAMPLE_RATE; bitexact and without metadata, so that equal clips give equal bytes.
OPTIONS = ("-vn", "-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le", "-map_metadata", "-1")
# Every message with its level in brackets, and among them the duration of the container.
MESSAGES = ("-hide_banner", "-nostats", "-v", "level+info")
PROBE = ("-v", "error", "-select_streams", "a:0", "-show_entries", "stream=duration:format=duration")
BARE = ("-of", "default=noprint_wrappers=1:nokey=1")
LEVEL = re.compile(r"\[(panic|fatal|error|warning|info|verbose|debug|trace)\] ?")
FAULT = re.compile(r"error|invalid|corrupt|truncat|fail|cannot|could not|unable|exceed|exhaust|partial", re.IGNORECASE)
DURATION = re.compile(r"Duration: *(\d+):(\d\d):(\d\d(?:\.\d+)?)")
SHORT_S = 0.25  # how much shorter than the clip its audio may be: the streams of a clip do not end together
BITEXACT = ("-fflags", "+bitexact", "-flags:a", "+bitexact", "-f", "wav")


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: its name as the release has it, the video, and the WAV file it becomes."""

    name: str
    video: Path
    audio: Path


@dataclass(frozen=True, slots=True)
class Programs:
    """Where ffmpeg is, and ffprobe, which is looked for and not needed."""

    ffmpeg: str
    ffprobe: str | None


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import: clips made now, clips already there, known faulty ones, and failures by clip."""

    made: int
    there: int
    faulty: int
    failures: dict[str, str]


def import_clips(source: Path, destination: Path) -> Imported:
    """Make `destination` a MELD corpus with audio: the three CSVs, wav/{train,dev,test}/*.wav, import_failures.csv.

    `source` is MELD.Raw, unpacked: each CSV and each folder of clips may lie in it or up to three folders below. A clip
    that fails, or of which only a part decodes, is named with its reason and does not stop the others.
    Raises LsgmerError without ffmpeg, a CSV or a folder of clips, or for a folder that is its own source.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise LsgmerError("ffmpeg is not on the PATH; it decodes the clips: install it, then run this again")
    if destination.resolve() == source.resolve():
        raise LsgmerError(f"{destination}: give another folder than the source, which is left unchanged")
    folders = _folders(source, destination)
    tables = {official: _table(TABLE.format(official), folders, source) for official in OFFICIAL}
    clips, faulty = _clips(
        tables, {official: _clip_folder(official, folders, source) for official in OFFICIAL}, destination
    )
    for official, table in tables.items():
        (destination / "wav" / official).mkdir(parents=True, exist_ok=True)
        write_atomically(destination / table.name, table.read_bytes())
    programs = Programs(ffmpeg, shutil.which("ffprobe"))
    todo = [clip for clip in clips if not clip.audio.is_file()]
    failures = {clip.name: reason for clip, reason in zip(todo, _convert_all(programs, todo), strict=True) if reason}
    _write_failures(destination / FAILURES, failures)
    return Imported(len(todo) - len(failures), len(clips) - len(todo), faulty, failures)


def _folders(source: Path, destination: Path) -> list[Path]:
    """Return `source` and the folders below it, nearest first, without `destination` and hidden ones."""
    found = level = [source]
    for _ in range(DEPTH):
        below = (path for folder in level if folder.is_dir() for path in sorted(folder.iterdir()))
        level = [
            path
            for path in below
            if not CLIP.fullmatch(path.name)  # saves 13,000 looks at the disk
            and not path.name.startswith(".")
            and path.is_dir()
            and path.resolve() != destination.resolve()
        ]
        found = [*found, *level]
    return found


def _table(name: str, folders: Sequence[Path], source: Path) -> Path:
    """Return the nearest file `name`. Raises LsgmerError for none, and for several as near that differ."""
    found = [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
        raise LsgmerError(
            f"{source / name}: no such file, nor in the folders below; give the folder of MELD.Raw with MELD's three "
            "*_sent_emo.csv in it"
        )
    near = [path for path in found if len(path.parts) == len(found[0].parts)]
    if len({path.read_bytes() for path in near}) > 1:
        raise LsgmerError(f"{' and '.join(map(str, near))} differ; keep the one that is MELD's")
    return found[0]


def _clip_folder(official: str, folders: Sequence[Path], source: Path) -> Path:
    """Return the nearest folder of the split's clips. Raises LsgmerError."""
    name = FOLDERS[official]
    named = [folder for folder in folders if folder.name == name]
    plain = [folder for folder in folders if folder.name == official]
    for folder in (*named, *plain):
        if any(CLIP.fullmatch(path.name) for path in folder.iterdir()):
            return folder
    if named:
        return named[0]
    packed = [path for folder in folders for path in sorted(folder.glob(f"{official}*.tar*"))]
    remedy = f"unpack {packed[0]}" if packed else "unpack MELD.Raw again"
    raise LsgmerError(f"{source / name}: no such folder of clips, nor in the folders below; {remedy}")


def _clips(tables: dict[str, Path], folders: dict[str, Path], destination: Path) -> tuple[list[Clip], int]:
    """Return the clips that the CSVs name, and how many were skipped because they are known to be faulty."""
    clips: list[Clip] = []
    faulty = 0
    for official, folder in folders.items():
        for row in rows_of(tables[official]):
            try:
                dialogue, turn = clip_of(row)
            except Unfit:
                continue  # the manifest rejects the row by name
            if (official, dialogue, turn) in FAULTY_CLIPS:
                faulty += 1
                continue
            name = f"dia{dialogue}_utt{turn}"
            wav = destination / "wav" / official / f"{name}.wav"
            clips.append(Clip(f"{official}/{name}", folder / f"{name}.mp4", wav))
    return clips, faulty


def _convert_all(programs: Programs, clips: Sequence[Clip]) -> Iterator[str | None]:
    """Yield for each clip, in order, None or why it failed, with progress."""
    pool = ThreadPoolExecutor(cores())  # threads: ffmpeg's processes do the work
    try:
        yield from track(pool.map(lambda clip: _convert(programs, clip), clips), len(clips), "clips")
    finally:
        pool.shutdown(cancel_futures=True)


def _convert(programs: Programs, clip: Clip) -> str | None:
    """Write the clip's audio; return None, or why there is none, and then no file either."""
    video = as_named(clip.video)
    if video is None:
        return f"no such file in {clip.video.parent.name}"
    part = clip.audio.with_name(clip.audio.name + PART)
    command = [programs.ffmpeg, "-nostdin", *MESSAGES, "-y", "-i", str(video), *OPTIONS, *BITEXACT, str(part)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = done.stderr.replace(str(video), video.name)
    if done.returncode == 0 and part.is_file() and part.stat().st_size > 0:
        fault = _fault(part, said, _duration(programs.ffprobe, video, said))
        if fault is None:
            part.replace(clip.audio)
            return None
    else:
        lines = [] if done.returncode == 0 else [line for line in said.strip().split("\n") if line]
        last = (_errors(said) or lines or [f"exit {done.returncode}, nothing written"])[-1]
        fault = f"ffmpeg: {LEVEL.sub('', last, count=1)}"
    part.unlink(missing_ok=True)
    return fault


def _fault(part: Path, said: str, whole_s: Seconds | None) -> str | None:
    """Return why the file that ffmpeg wrote is not the whole clip, None if it is. `whole_s` is None where unknown."""
    errors = _errors(said)
    told = f"; ffmpeg: {errors[0]}" + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "") if errors else ""
    found_s = _wav_duration(part)
    if whole_s is not None and found_s is None:
        return f"ffmpeg wrote no readable WAV{told}"
    if whole_s is not None and found_s is not None and found_s < whole_s - SHORT_S:
        return f"decoded only in part: {found_s:.2f} of {whole_s:.2f} s{told}"
    return f"decoded with errors, perhaps only in part{told}" if errors else None


def _errors(said: str) -> list[str]:
    """Return ffmpeg's messages that are errors: by their level, or where none is given by their words."""
    found = []
    for line in said.split("\n"):
        level = LEVEL.search(line)
        if level[1] in ("panic", "fatal", "error") if level else FAULT.search(line):
            found.append(LEVEL.sub("", line, count=1).strip())
    return found


def _duration(ffprobe: str | None, video: Path, said: str) -> Seconds | None:
    """Return how long the clip's audio should be: by ffprobe, else by what ffmpeg said of the container."""
    if ffprobe:
        done = subprocess.run(
            [ffprobe, *PROBE, *BARE, str(video)], capture_output=True, text=True, errors="replace", check=False
        )
        numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", done.stdout)]
        if done.returncode == 0 and numbers:
            return min(numbers)
    found = DURATION.search(said)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else None


def _wav_duration(path: Path) -> Seconds | None:
    try:
        with wave.open(str(path)) as file:
            return float(file.getnframes() / file.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return None


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
    print(_next(destination), flush=True)
    return ExitCode.ERROR if done.failures else ExitCode.DONE


def _next(destination: Path) -> str:
    """Return what to do after the import, with every parameter that it takes."""
    settings = (f"corpus.path={destination}", "corpus.clips=wav", f"features.audio={ENCODER}")
    command = " ".join(["lsgmer run --params params/meld.yaml", *(f"--set {shlex.quote(item)}" for item in settings)])
    return (
        f"now set corpus.path to {destination} and corpus.clips to wav, and features.audio to an encoder, since "
        f"params/meld.yaml reads text only:\n  {command}"
    )


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
