"""Corpora whose file names say everything: who speaks, which emotion, often which sentence.

`corpus.files` holds what is particular to one: a regular expression with named groups, and what its codes mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.corpora.base import SHOWN, Unfit, label_of, split_named
from lsgmer.corpora.params import NAMED, CorpusParams, FilesParams, SpeakersTable, filled
from lsgmer.corpora.paths import AUDIO, files_below, not_read
from lsgmer.manifests.utterance import LEFT_OUT_CODE, CorpusReading, RejectedRow, Utterance

MATCH_S = 1.0  # a name takes microseconds; a pattern that takes a second on one backtracks without end


def read(params: CorpusParams, root: Path) -> CorpusReading:
    """Read the names of the audio files in `root`/`params.files.folder` and below it.

    The pattern must fit the whole path within that folder, without its suffix, or the end of it from a folder or name
    on; the shortest end that fits counts, and is the utterance's id. A file that it does not fit, whose codes are
    unknown or whose id another file has is rejected. Suffixes count in any case (`.WAV`); hidden files and folders,
    such as macOS's companions (`._NAME.wav`), are skipped.

    Raises ParamsError without `files`, or for a pattern that takes too long; LsgmerError when there is no audio file,
    or the table of speakers cannot be read.
    """
    if params.files is None:
        raise ParamsError(f"corpus {params.name} is read by its file names, which corpus.files must explain")
    files = params.files
    found = sorted(files_below(root / files.folder), key=lambda path: path.as_posix())
    audio = [path for path in found if path.suffix.lower() in AUDIO]
    if not audio:
        where = f"the parent of {files.folder}/" if files.folder else "the folder that holds the corpus"
        raise LsgmerError(f"{root / files.folder}: no such folder, or no audio file in it; set corpus.path to {where}")
    sexes = _sexes(root / files.speakers.table, files.speakers) if files.speakers else files.sex
    utterances: list[Utterance] = []
    rejected: list[RejectedRow] = []
    first: dict[str, str] = {}
    for path in audio:
        within = PurePosixPath(files.folder, path)
        try:
            name, groups = _match(path.with_suffix("").as_posix(), files)
            utterance = _utterance(name, groups, within, params, files, sexes)
            if name in first:
                raise Unfit(f"{name} is already the name of {first[name]}: keep one of the two")
        except Unfit as reason:
            rejected.append(RejectedRow(within.parent.as_posix(), within.name, str(reason)))
        else:
            first[name] = within.as_posix()
            utterances.append(utterance)
    return CorpusReading(tuple(utterances), tuple(rejected), not_read(found, files.folder))


def _match(path: str, files: FilesParams) -> tuple[str, dict[str, str]]:
    """Return the shortest end of `path` that the pattern fits, and its groups. Raises Unfit, ParamsError."""
    pattern = files.compiled()
    parts = path.split("/")
    for start in reversed(range(len(parts))):
        name = "/".join(parts[start:])
        try:
            matched = pattern.fullmatch(name, timeout=MATCH_S)
        except TimeoutError:
            raise ParamsError(
                f"corpus.files.pattern takes more than {MATCH_S:.0f} s on {name!r}: it repeats what is itself "
                "repeated, as (a+)+ does; name the characters between the parts instead"
            ) from None
        if matched:
            return name, {group: text or "" for group, text in matched.groupdict().items()}
    form = f"of the form {files.example}" if files.example else f"one that corpus.files.pattern fits: {files.pattern}"
    raise Unfit(f"its name is not {form}")


def _utterance(
    name: str,
    groups: Mapping[str, str],
    audio: PurePosixPath,
    params: CorpusParams,
    files: FilesParams,
    sexes: Mapping[str, str | None],
) -> Utterance:
    """Return the file as an utterance. Raises Unfit."""
    for group, code in groups.items():  # first: a file left out on purpose is no defect, whatever else is wrong with it
        if files.codes.get(group, {}).get(code, "") is None:
            raise Unfit(f"{group} {code!r} {LEFT_OUT_CODE}")
    values = {group: _decoded(group, code, files) for group, code in groups.items()}
    for group in NAMED:
        if not values[group]:
            raise Unfit(f"no {group} in its name")
    speaker, emotion_raw = values["speaker"], values["emotion"]
    if files.sex and speaker not in files.sex:
        raise Unfit(f"unknown speaker {speaker!r}; known are {', '.join(files.sex)}")
    return Utterance(
        id=name,
        corpus=params.name,
        speaker=speaker,
        emotion_raw=emotion_raw,
        emotion=label_of(emotion_raw, params),
        split=split_named(values.get("split"), "; map it in corpus.files.codes.split"),
        session=values.get("session") or None,
        dialogue=values.get("dialogue") or None,
        turn=_turn(values.get("turn")),
        sex=values.get("sex") or sexes.get(speaker),
        audio=audio.as_posix(),
        text=filled(files.text, values) if files.text else None,
        tags=tuple(sorted({values[group] for group in files.tags} - {""})),
    )


def _decoded(group: str, code: str, files: FilesParams) -> str:
    """Return what `code` means, itself for a group without codes. Raises Unfit for an unknown one."""
    known = files.codes.get(group)
    if known is None or (not code and group not in NAMED):
        return code
    if code not in known:
        raise Unfit(f"unknown {group} {code[:SHOWN]!r}; known are {', '.join(known)}")
    return known[code] or ""


def _turn(value: str | None) -> int | None:
    if not value:
        return None
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        raise Unfit(f"turn {value[:SHOWN]!r} is not a whole number")
    return int(value)


def _sexes(path: Path, table: SpeakersTable) -> dict[str, str | None]:
    """Return the sex of each speaker in the table at `path`, nobody's where there is no such file."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
            return {row[table.speaker].strip(): row[table.sex].strip().lower() or None for row in rows}
    except (KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        raise LsgmerError(
            f"{path}: not readable as a table with {table.speaker} and {table.sex} ({error}); get it again"
        ) from None
