"""The files of a corpus folder, and audio paths as other systems write them: found where exactly one file fits."""

from __future__ import annotations

import difflib
import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from lsgmer.audio import EMBEDDED
from lsgmer.corpora.base import SHOWN, Unfit
from lsgmer.manifests.utterance import Note

AUDIO = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc")
OTHER_MEDIA = (".m4a", ".aac", ".wma", ".amr", ".mp4", ".mkv", ".mov", ".avi", ".webm", ".sph", ".au", ".caf")
RESOLVED = "audio path was written as on another system"
NEAREST = "no such audio file; the nearest name is"


@dataclass
class AudioFiles:
    """The files of a corpus folder, looked through only once a path does not exist as it is written."""

    root: Path
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def find(self, path: str, row: str) -> str:
        """Return the path, relative to the root, of the one file that `path` means; `path` itself if there is none.

        Backslashes, doubled separators, composed and decomposed letters and the case of the suffix may differ. What
        was found in another form, or not at all, is noted by `row`. Raises Unfit for what can be no file's name.
        """
        try:
            if EMBEDDED.search(path) or (self.root / path).is_file():
                return path
        except OSError as error:  # such as a name that is too long for any file
            raise Unfit(f"audio {path[:SHOWN]!r} is no name of a file: {error.strerror}") from None
        fitting = self._index.get(_form(path), [])
        if len(fitting) == 1:
            self.notes[RESOLVED].append(row)
            return fitting[0]
        names = [name for same in self._index.values() for name in same]
        folder = [name for name in names if posixpath.dirname(name) == posixpath.dirname(_form(path))]
        if near := difflib.get_close_matches(path, folder or names[:5000], n=1):
            self.notes[f"{NEAREST} {near[0]}"].append(row)
        return path

    @cached_property
    def _index(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for folder, _, files in os.walk(self.root):
            for file in files:
                relative = Path(folder, file).relative_to(self.root).as_posix()
                found[_form(relative)].append(relative)
        return found


def _form(path: str) -> str:
    """Return what the writings of one path share."""
    plain = posixpath.normpath(unicodedata.normalize("NFC", path).replace("\\", "/"))
    stem, suffix = posixpath.splitext(plain)
    return stem + suffix.lower()


def files_below(folder: Path) -> Iterator[PurePosixPath]:
    """Yield the path of every file below `folder`, relative to it; links are followed, each folder once."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            within = Path(place).relative_to(folder)
            yield from (PurePosixPath(within.as_posix(), name) for name in names if not name.startswith("."))
        seen.add(real)


def not_read(found: list[PurePosixPath], folder: str) -> tuple[Note, ...]:
    """Return a note for each format of sound or film that is not read, so that no recording is lost silently."""
    suffixes = Counter(path.suffix.lower() for path in found)
    return tuple(
        Note(
            f"not read: {suffix} files; convert them to WAV or FLAC if they belong to the corpus",
            tuple(PurePosixPath(folder, path).as_posix() for path in found if path.suffix.lower() == suffix),
        )
        for suffix in OTHER_MEDIA
        if suffixes[suffix]
    )
