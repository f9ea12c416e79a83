"""`lsgmer predict`: predictions for files, globs or a table; one bad file never stops the rest."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsgmer.commands import remote
from lsgmer.commands.models import champion_of
from lsgmer.commands.queries import Query, TableSource, before, gather
from lsgmer.commands.texts import csv_text, json_text
from lsgmer.core.errors import ExitCode, LsgmerError, ParamsError
from lsgmer.core.paths import Workspace, check_output, write_atomically
from lsgmer.core.process import native_stderr_off
from lsgmer.core.progress import track
from lsgmer.core.records import channel_number
from lsgmer.registry import champions

if TYPE_CHECKING:
    from lsgmer.inference.prediction import AutomaticTranscript
    from lsgmer.inference.predictor import Predictor
    from lsgmer.inference.speakers import SpeakerLevels

FORMATS = ("table", "json", "csv")
NOT_SURE = "(not sure)"  # for an emotion that a service does not give, since the setting abstain is on
AUTOMATIC = " (automatic)"
CHUNK = 64  # inputs decoded at once: bounds memory for a large table


def predict(
    paths: Sequence[str],
    text: str | None,
    table: TableSource | None,
    kind: str,
    output: Path | None,
    channel: str | None = None,
    transcriber: str | None = None,
    url: str | None = None,
    key_file: Path | None = None,
) -> int:
    """Write one prediction per input; return ERROR when any could not be predicted, else DONE.

    `channel` is read of recordings with several, unless a table's row names its own. Where there are no words and the
    model reads some, `transcriber` (moonshine, or the folder of a Whisper model) writes them; None: there are none.
    The champion predicts, or the service at `url`, with the API key in `key_file`, and its own transcriber.
    """
    if kind not in FORMATS:
        raise ParamsError(f"--format {kind}: one of {', '.join(FORMATS)}")
    if output:
        check_output(output, "--output")
    _channel(channel)
    sources = [replace(source, channel=source.channel or channel) for source in gather(paths, text, table)]
    remote.check(url, key_file, transcriber)
    if url is None:
        found = answers(Workspace(Path.cwd()), sources, transcriber)
        rows = list(track(found, len(sources), "predict") if len(sources) > 1 else found)
    else:
        with remote.connect(url, key_file) as client:
            rows = list(remote.answers(client, sources, transcriber is not None))
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


def _channel(given: str | None) -> int | None:
    try:
        return None if given is None else channel_number(given)
    except ValueError as error:
        raise ParamsError(str(error)) from None


def answers(workspace: Workspace, sources: Sequence[Query], transcriber: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield one row per input, in order: its name and the fields of its Prediction, or its name and the error."""
    from lsgmer.inference.speakers import SpeakerLevels
    from lsgmer.registry.bento import Bundle

    predictor = Bundle.open(champions.verified_source(workspace, champion_of(workspace))).predictor()
    heard = _transcribe(predictor, sources, transcriber) if transcriber else {}
    spoken = [replace(q, text=heard[i].text) if i in heard else q for i, q in enumerate(sources)]
    earlier = before(spoken, predictor.context) if predictor.context else {}
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
                inputs[i] = replace(
                    _read(source, predictor), previous=earlier.get(start + i, ()), transcript=heard.get(start + i)
                )
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
    return json_text(rows)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as CSV, a column per label's probability."""
    return csv_text([_flat(row) for row in rows])


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as aligned text: source, emotion, probability, consistency, modalities used."""
    lines = [("source", "emotion", "probability", "consistency", "used")]
    for row in rows:
        if row["error"]:
            lines.append((row["source"], "-", "-", "-", "error, see below"))
        else:
            top = f"{max(row['probabilities'].values()):.3f}"
            trust = f"{row['consistency']:.3f}"
            used = [f"{name}{AUTOMATIC if name == 'text' and row['transcript'] else ''}" for name in row["modalities"]]
            lines.append((row["source"], row["emotion"] or NOT_SURE, top, trust, "+".join(used)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(text) + "\n"


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = {key: row.get(key) for key in ("source", "emotion", "consistency", "model_version", "error")}
    flat["modalities"] = "+".join(row.get("modalities", ()))
    if row.get("warnings"):  # a column of its own, where any row has one
        flat["warnings"] = "; ".join(row["warnings"])
    if row.get("transcript"):
        flat["transcript"] = row["transcript"]["text"]
    return flat | {f"p_{name}": value for name, value in row.get("probabilities", {}).items()}


def _read(source: Query, predictor: Predictor) -> Any:
    from lsgmer.audio import channel_to_read, decode
    from lsgmer.inference.predictor import Input

    wave = None
    if source.audio:
        with native_stderr_off():
            channel = channel_to_read(source.audio, _channel(source.channel), predictor.channel)
            wave = decode(source.audio, source.start_s, source.end_s, channel, limit_s=predictor.most_s)
    return Input(audio=wave, text=source.text, speaker=source.speaker)


def _transcribe(predictor: Predictor, sources: Sequence[Query], name: str) -> dict[int, AutomaticTranscript]:
    """Return, by position, what the transcriber called `name` hears where there are no words and the model reads some.

    A row that cannot be read is left out: it is reported when it should be predicted.
    """
    from lsgmer.inference.prediction import AutomaticTranscript
    from lsgmer.speech.transcribe import transcriber_called

    transcriber = transcriber_called(name, Path.cwd(), predictor.device)
    if "text" not in predictor.modalities:
        print("lsgmer predict: the model reads no words, so nothing is transcribed", file=sys.stderr)
        return {}
    trained = predictor.card.transcriber
    if trained is not None and trained.fingerprint != transcriber.spec.fingerprint:
        print(f"lsgmer predict: warning: the words that the model was trained on are not {name}'s", file=sys.stderr)
    wanted = [i for i, q in enumerate(sources) if q.audio and not q.problem and not (q.text and q.text.strip())]
    found = {}
    for i in track(wanted, len(wanted), "transcripts"):
        with suppress(LsgmerError):
            item = _read(sources[i], predictor)
            predictor.check_audio(item.audio)
            heard = transcriber.transcribe(item.audio)
            found[i] = AutomaticTranscript(text=heard.text, reason=heard.reason)
    if silent := [i for i, heard in found.items() if not heard.text]:
        first = f"{sources[silent[0]].name}: {found[silent[0]].reason}"
        print(
            f"lsgmer predict: no automatic words for {len(silent)} of {len(wanted)}, such as {first}", file=sys.stderr
        )
    return found


def _enrol(predictor: Predictor, sources: Sequence[Query], levels: SpeakerLevels) -> None:
    """Take in the audio level of every speaker that `sources` name, from all of the speaker's own rows."""
    for source in sources:
        if source.speaker is None or source.audio is None:
            continue
        with suppress(LsgmerError):  # an unreadable file is reported when it should be predicted
            item = _read(source, predictor)
            predictor.used(item)
            predictor.enrol([item], levels)
