"""What `lsgmer analyze` is asked: the calls, the turns that belong to each, and the files that are to be written."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.paths import check_output
from lsgmer.turns.files import FORMS, decoded, read_turns
from lsgmer.turns.turn import Turn

FORMATS = ("table", "json", "csv")
SUFFIXES = {"table": ".txt", "json": ".json", "csv": ".csv"}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `lsgmer analyze`; `output` and `html` are a file, or a folder with one file per call.

    `transcriber` (moonshine, or the folder of a Whisper model) writes the words of turns without any; None: nothing.
    """

    turns: Path | None = None
    transcriber: str | None = None
    speakers: tuple[str, ...] = ()
    negative: tuple[str, ...] | None = None
    kind: str = "table"
    output: str | None = None
    html: str | None = None
    with_audio: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One recording: the file of its turns, if any, and the files that are written for it alone, if any.

    `unused` is a file of turns that lies beside the recording, and that nobody asked for.
    """

    path: Path
    turns: Path | None = None
    output: Path | None = None
    html: Path | None = None
    unused: Path | None = None


def names_in(given: str | None, option: str) -> tuple[str, ...]:
    """Return the names in a list with commas. Raises ParamsError for an empty one, or one that is there twice."""
    if given is None:
        return ()
    names = tuple(name.strip() for name in given.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ParamsError(f"{option} {given}: write different names with commas between, as in {option} agent,customer")
    return names


def gather(patterns: Sequence[str], options: Options) -> list[Call]:
    """Return the calls, with everything that can be wrong found before any work. Raises ParamsError, LsgmerError."""
    if options.kind not in FORMATS:
        raise ParamsError(f"--format {options.kind}: one of {', '.join(FORMATS)}")
    if options.with_audio and options.html is None:
        raise ParamsError("--with-audio goes with --html")
    paths = _found(patterns)
    names = _names(paths)
    several = len(paths) > 1
    output = _place(options.output, "--output", several=False)
    html = _place(options.html, "--html", several=several)
    calls = []
    for path, name in zip(paths, names, strict=True):
        turns = _turns_of(path, options.turns, several)
        calls.append(
            Call(
                path,
                turns,
                output / f"{name}{SUFFIXES[options.kind]}" if output is not None and output.is_dir() else None,
                html / f"{name}.html" if html is not None and html.is_dir() else html,
                None if turns else _beside(path),
            )
        )
    return calls


def turns_in(path: Path) -> tuple[Turn, ...]:
    """Return the turns in a file. Raises LsgmerError that names the file and the faulty lines."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LsgmerError(f"{path}: {error.strerror}") from None
    try:
        return tuple(read_turns(decoded(content, path.name), path.name))
    except LsgmerError as error:
        raise LsgmerError(f"{path}: {error}") from None


def _found(patterns: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for pattern in patterns:
        found = [Path(pattern)] if Path(pattern).exists() else [Path(p) for p in glob.glob(pattern, recursive=True)]  # noqa: PTH207  (patterns may be absolute)
        files += sorted(p for p in found if not p.is_dir()) or [Path(pattern)]  # an absent file gets its own error
    if not files:
        raise ParamsError("nothing to analyze: give recordings of calls")
    return list(dict.fromkeys(files))


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a different name for each call's files: its stem, or all of its name, or that with its folder's."""
    for of in (
        lambda path: path.stem,
        lambda path: path.name,
        lambda path: f"{path.absolute().parent.name}-{path.name}",
    ):
        names = [of(path) for path in paths]
        if len(set(names)) == len(names):
            return names
    counted: Counter[str] = Counter()
    numbered = []
    for name in names:
        counted[name] += 1
        numbered.append(name if counted[name] == 1 else f"{name}-{counted[name]}")
    return numbered


def _place(given: str | None, option: str, several: bool) -> Path | None:
    """Return the file or folder that an option names; a folder that is named with a slash at its end is made."""
    if given is None:
        return None
    path = Path(given)
    if given.endswith(("/", os.sep)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LsgmerError(f"{option} {given}: {error.strerror}; name a folder that can be made") from None
    if path.is_dir():
        if not os.access(path, os.W_OK):
            raise LsgmerError(f"{option} {given}: this folder cannot be written to; name another")
        return path
    if several:
        raise ParamsError(f"{option} {given}: several calls need a folder; write {given}/ to have it made")
    check_output(path, option)
    return path


def _turns_of(call: Path, given: Path | None, several: bool) -> Path | None:
    """Return the file with the turns of `call`: the one that was given, or the one in a given folder with its name."""
    if given is None:
        return None
    if not given.is_dir():
        if several:
            raise ParamsError(f"--turns {given}: is one file for several calls; give a folder with a file for each")
        if not given.exists():
            raise LsgmerError(f"--turns {given}: there is no such file")
        return given
    fitting = _with_stem(call, given)
    if len(fitting) != 1:
        named = ", ".join(path.name for path in fitting) or f"none of {', '.join(f'{call.stem}.{f}' for f in FORMS)}"
        raise LsgmerError(f"--turns {given}: needs one file for {call.name}, and has {named}")
    return fitting[0]


def _with_stem(call: Path, folder: Path) -> list[Path]:
    names = (f"{call.stem}{middle}.{form}" for form in FORMS for middle in ("", ".turns"))
    return [path for name in names if (path := folder / name).is_file() and path != call]


def _beside(call: Path) -> Path | None:
    found = _with_stem(call, call.parent)
    return found[0] if found else None
