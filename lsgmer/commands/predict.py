"""`lsgmer predict`: the champion's predictions for files, globs or a table; one bad file never stops the rest."""

from __future__ import annotations

import csv
import glob
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsgmer.commands.models import champion_of
from lsgmer.core.errors import ExitCode, LsgmerError, ParamsError
from lsgmer.core.paths import Workspace, check_output, write_atomically
from lsgmer.core.process import native_stderr_off
from lsgmer.core.records import channel_number
from lsgmer.corpora.base import Unfit
from lsgmer.corpora.paths import AudioFiles
from lsgmer.corpora.tabular import Row, read_rows
from lsgmer.encoders.context import Earlier
from lsgmer.features.dialogues import words_before
from lsgmer.manifests.utterance import Utterance
from lsgmer.registry import champions

if TYPE_CHECKING:
    from lsgmer.inference.predictor import Predictor
    from lsgmer.inference.speakers import SpeakerLevels

QUERY_COLUMNS = ("id", "audio", "text", "speaker", "dialogue", "turn", "channel")
NAMED = 5  # rows that a note names
FORMATS = ("table", "json", "csv")
CHUNK = 64  # inputs decoded at once: bounds memory for a large table


@dataclass(frozen=True, slots=True)
class Query:
    """One input: its name in the output, and an audio file and/or text.

    `dialogue` and `turn` place it among the others, whose earlier turns a model with context reads. `channel` is
    the one to read of an audio file with several (0, 1, ..., left or right).
    """

    name: str
    audio: Path | None
    text: str | None
    speaker: str | None = None
    dialogue: str | None = None
    turn: int | None = None
    channel: str | None = None
    problem: str | None = None


def predict(
    paths: Sequence[str],
    text: str | None,
    table: Path | None,
    kind: str,
    output: Path | None,
    channel: str | None = None,
) -> int:
    """Write one prediction per input; return ERROR when any could not be predicted, else DONE.

    `channel` is read of recordings with several, unless a table's row names its own.
    """
    if kind not in FORMATS:
        raise ParamsError(f"--format {kind}: one of {', '.join(FORMATS)}")
    if output:
        check_output(output, "--output")
    _channel(channel)
    sources = [replace(source, channel=source.channel or channel) for source in gather(paths, text, table)]
    workspace = Workspace(Path.cwd())
    rows = list(answers(workspace, sources))
    content = {"table": as_table, "json": as_json, "csv": as_csv}[kind](rows)
    if output:
        write_atomically(output, content)
    else:
        sys.stdout.write(content)
    for row in rows:
        for warning in row.get("warnings", ()):
            print(f"lsgmer predict: warning: {row['source']}: {warning}", file=sys.stderr)
    failed = [row for row in rows if row["error"]]
    for row in failed:
        print(f"lsgmer predict: {row['source']}: {row['error'].removeprefix(row['source'] + ': ')}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(rows)} could not be predicted", file=sys.stderr)
    return ExitCode.ERROR if failed else ExitCode.DONE


def gather(paths: Sequence[str], text: str | None, table: Path | None) -> list[Query]:
    """Return what to predict. Raises ParamsError when there is nothing, or when --text comes with several files."""
    if table and (paths or text):
        raise ParamsError("give either files or --table, not both")
    if table:
        return read_table(table)
    files: list[Path] = []
    for pattern in paths:
        found = [Path(pattern)] if Path(pattern).exists() else [Path(p) for p in glob.glob(pattern, recursive=True)]  # noqa: PTH207  (patterns may be absolute)
        files += sorted(p for p in found if not p.is_dir()) or [Path(pattern)]  # an absent file gets its own error
    files = list(dict.fromkeys(files))
    if text and len(files) > 1:
        raise ParamsError("--text goes with one file; for several, use --table with columns audio and text")
    if not files and not text:
        raise ParamsError("nothing to predict: give audio files, --text or --table")
    return [Query(str(file), file, text) for file in files] or [Query("text", None, text)]


def read_table(path: Path) -> list[Query]:
    """Read audio (paths relative to the table) and/or text, and id, speaker, dialogue, turn, channel where given.

    The same reader as a corpus's. Raises LsgmerError, naming the row, for one that cannot be read.
    """
    header, rows = read_rows(path)
    if not {"audio", "text"} & set(header):
        raise LsgmerError(f"{path}: needs a column audio or text, has {', '.join(header)}")
    files = AudioFiles(path.parent)
    queries = [_query(path, row, files) for row in rows]
    for what, named in files.notes.items():
        print(f"lsgmer predict: note: {len(named)} x {what}: {', '.join(named[:NAMED])}", file=sys.stderr)
    return queries


def _query(path: Path, row: Row, files: AudioFiles) -> Query:
    faults = [fault for column, fault in row.faults.items() if column in QUERY_COLUMNS]
    if problem := row.problem or next(iter(faults), None):
        return Query(row.name, None, None, problem=f"{path}: {row.name}: {problem}")
    cells = {column: cell for column in QUERY_COLUMNS if (cell := row.cells.get(column, "").strip())}
    try:
        audio = path.parent / files.find(cells["audio"], row.name) if "audio" in cells else None
    except Unfit as reason:
        return Query(row.name, None, None, problem=f"{path}: {row.name}: {reason}")
    return Query(
        cells.get("id") or _sound(cells) or row.name,
        audio,
        cells.get("text"),
        cells.get("speaker"),
        cells.get("dialogue"),
        _turn(cells.get("turn"), f"{path}: {row.name}"),
        cells.get("channel"),
    )


def _turn(value: str | None, where: str) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        raise LsgmerError(f"{where}: turn {value!r} is not a whole number") from None


def _sound(row: dict[str, Any]) -> str | None:
    """Return what names the audio: two rows may be two channels of one file."""
    return f"{row['audio']}#{row['channel']}" if {"audio", "channel"} <= row.keys() else row.get("audio")


def _channel(given: str | None) -> int | None:
    try:
        return None if given is None else channel_number(given)
    except ValueError as error:
        raise ParamsError(str(error)) from None


def before(sources: Sequence[Query], count: int) -> dict[int, tuple[Earlier, ...]]:
    """Return, by position, the up to `count` utterances of the same dialogue with a lower turn, earliest first."""
    rows = [
        Utterance(str(i), "", q.speaker or f"?{i}", "", "", dialogue=q.dialogue, turn=q.turn, text=q.text)
        for i, q in enumerate(sources)
    ]
    found = words_before(rows, count)
    named = {q.speaker for q in sources} - {None}
    return {
        int(key): lines if named else tuple(Earlier(line.text) for line in lines)  # no names: nobody's mark is known
        for key, lines in found.items()
    }


def answers(workspace: Workspace, sources: Sequence[Query]) -> Iterator[dict[str, Any]]:
    """Yield one row per input, in order: its name and the fields of its Prediction, or its name and the error."""
    from lsgmer.inference.speakers import SpeakerLevels
    from lsgmer.registry.bento import Bundle

    predictor = Bundle.open(champions.verified_source(workspace, champion_of(workspace))).predictor()
    earlier = before(sources, predictor.context) if predictor.context else {}
    levels = SpeakerLevels.offline()
    if predictor.normalises:
        _enrol(predictor, sources, levels)
    for start in range(0, len(sources), CHUNK):
        chunk = sources[start : start + CHUNK]
        inputs: dict[int, Any] = {}
        errors: dict[int, str] = {}
        for i, source in enumerate(chunk):
            try:
                if source.problem:
                    raise LsgmerError(source.problem)
                inputs[i] = replace(_read(source, predictor), previous=earlier.get(start + i, ()))
                predictor.used(inputs[i])
            except LsgmerError as error:
                inputs.pop(i, None)
                errors[i] = str(error)
        found = dict(zip(inputs, predictor.predict(list(inputs.values()), levels=levels, learn=False), strict=True))
        for i, source in enumerate(chunk):
            fields = found[i].model_dump(mode="json", exclude={"request_id"}) if i in found else {}
            yield {"source": source.name, "error": errors.get(i), **fields}


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as indented JSON."""
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as CSV, a column per label's probability."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in sorted(flat, key=len, reverse=True) for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as aligned text: source, emotion, probability, consistency, modalities used."""
    lines = [("source", "emotion", "probability", "consistency", "used")]
    for row in rows:
        if row["error"]:
            lines.append((row["source"], "-", "-", "-", "error, see below"))
        else:
            top = f"{row['probabilities'][row['emotion']]:.3f}"
            trust = f"{row['consistency']:.3f}"
            lines.append((row["source"], row["emotion"], top, trust, "+".join(row["modalities"])))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(text) + "\n"


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = {key: row.get(key) for key in ("source", "emotion", "consistency", "model_version", "error")}
    flat["modalities"] = "+".join(row.get("modalities", ()))
    if row.get("warnings"):  # a column of its own, where any row has one
        flat["warnings"] = "; ".join(row["warnings"])
    return flat | {f"p_{name}": value for name, value in row.get("probabilities", {}).items()}


def _read(source: Query, predictor: Predictor) -> Any:
    from lsgmer.audio import decode
    from lsgmer.inference.predictor import Input

    wave = None
    if source.audio:
        with native_stderr_off():
            wave = decode(source.audio, channel=_channel(source.channel), limit_s=predictor.most_s)
    return Input(audio=wave, text=source.text, speaker=source.speaker)


def _enrol(predictor: Predictor, sources: Sequence[Query], levels: SpeakerLevels) -> None:
    """Take in the audio level of every speaker that `sources` name, from all of the speaker's own rows."""
    for source in sources:
        if source.speaker is None or source.audio is None:
            continue
        with suppress(LsgmerError):  # an unreadable file is reported when it should be predicted
            item = _read(source, predictor)
            predictor.used(item)
            predictor.enrol([item], levels)
