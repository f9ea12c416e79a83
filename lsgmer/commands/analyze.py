"""`lsgmer analyze`: calls, with the champion or a service; one bad call never stops the rest."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsgmer.call_report.page import Report, page
from lsgmer.call_report.peaks import read_peaks
from lsgmer.call_report.sound import as_mp3
from lsgmer.client import Client, JobStatus
from lsgmer.commands import remote
from lsgmer.commands.call_outputs import Outcome, as_csv, as_json, as_table
from lsgmer.commands.calls import Call, Options, gather, turns_in
from lsgmer.commands.models import champion_of
from lsgmer.conversations.records import Analysis
from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.progress import shown
from lsgmer.registry import champions
from lsgmer.turns.turn import Turn

if TYPE_CHECKING:
    from lsgmer.conversations.analyze import Progress

Show = Callable[[str, float], None]
WRITERS = {"table": as_table, "json": as_json, "csv": as_csv}


class Service:
    """Analyses calls with a service, one after another: it works on one at a time anyway."""

    def __init__(self, client: Client) -> None:
        """Ask for the model's lineage, so that a service that does not answer is found before any call is sent."""
        self.client, self.lineage = client, client.lineage()

    def analyze(self, call: Path, turns: tuple[Turn, ...] | None, options: Options, show: Show) -> Analysis:
        """Return the analysis of a call. Ctrl-C, and whatever else ends the waiting, cancels it."""

        def progress(status: JobStatus) -> None:
            show(status.stage or status.status, status.progress)

        show("sending", 0.0)
        names = options.speakers or None
        transcribe = options.transcriber is not None
        return self.client.analyze(call, turns, names, transcribe, options.negative, progress)


class Champion:
    """Analyses calls with the champion of a workspace, in this process."""

    def __init__(self, workspace: Workspace, transcriber: str | None) -> None:
        """Load the model, and what writes words where that is wanted."""
        from lsgmer.conversations.analyze import Analyzer, Local
        from lsgmer.registry.bento import Bundle
        from lsgmer.speech.transcribe import transcriber_called

        bundle = Bundle.open(champions.verified_source(workspace, champion_of(workspace)))
        self.lineage: Mapping[str, Any] = bundle.card.lineage.model_dump(mode="json")
        predictor = bundle.predictor()
        writer = None if transcriber is None else transcriber_called(transcriber, workspace.root, predictor.device)
        self._analyzer = Analyzer(Local(predictor), transcriber=writer)

    def analyze(self, call: Path, turns: tuple[Turn, ...] | None, options: Options, show: Show) -> Analysis:
        """Return the analysis of a call."""
        from lsgmer.conversations.analyze import Request

        def progress(found: Progress) -> None:
            show(found.stage, found.share)

        asked = Request(turns, options.speakers, options.negative, options.transcriber is not None)
        with tempfile.TemporaryDirectory(prefix="lsgmer-call-") as scratch:
            return self._analyzer.analyze(call, asked, Path(scratch), progress)


def analyze(patterns: Sequence[str], options: Options, url: str | None = None, key_file: Path | None = None) -> int:
    """Write what is found in each call; return ERROR when any could not be analysed, else DONE."""
    remote.check(url, key_file, options.transcriber)
    calls = gather(patterns, options)
    for call in calls:
        if call.unused is not None:
            print(
                f"lsgmer analyze: note: {call.unused} lies beside {call.path.name} and is not read; --turns names it",
                file=sys.stderr,
            )
    with ExitStack() as stack:
        if url is None:
            analyzer: Service | Champion = Champion(Workspace(Path.cwd()), options.transcriber)
        else:
            analyzer = Service(stack.enter_context(remote.connect(url, key_file)))
        outcomes = [_outcome(analyzer, call, options) for call in calls]
    _write(outcomes, calls, options)
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        reason = str(outcome.error).removeprefix(f"{outcome.source}: ")
        print(f"lsgmer analyze: {outcome.source}: {reason}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(outcomes)} could not be analysed", file=sys.stderr)
    return ExitCode.ERROR if failed else ExitCode.DONE


def _outcome(analyzer: Service | Champion, call: Call, options: Options) -> Outcome:
    """Return what became of a call, after its own files are written."""
    source, analysis, problem = str(call.path), None, None
    try:
        turns = None if call.turns is None else turns_in(call.turns)
        with shown(call.path.name) as show:
            analysis = analyzer.analyze(call.path, turns, options, show)
            if call.html is not None:
                show("report", 1.0)
                write_atomically(call.html, _html(call, analysis, analyzer.lineage, options.with_audio))
    except LsgmerError as error:  # of the report, too: then there still is the analysis
        problem = str(error)
    found = Outcome(source, analysis, problem)
    if call.output is not None:
        write_atomically(call.output, WRITERS[options.kind]([found]))
    for warning in () if analysis is None else analysis.warnings:
        print(f"lsgmer analyze: warning: {source}: {warning}", file=sys.stderr)
    return found


def _write(outcomes: Sequence[Outcome], calls: Sequence[Call], options: Options) -> None:
    if options.output is None:
        sys.stdout.write(WRITERS[options.kind](outcomes))
    elif all(call.output is None for call in calls):
        write_atomically(Path(options.output), WRITERS[options.kind](outcomes))


def _html(call: Call, analysis: Analysis, lineage: Mapping[str, Any], with_audio: bool) -> str:
    hashes = {f"{name.removesuffix('_sha256')} (sha256)": str(value) for name, value in _sha256s(lineage)}
    return page(
        Report(
            call.path.name,
            analysis,
            read_peaks(call.path, analysis.duration_s),
            {"recording (sha256)": file_sha256(call.path), **hashes},
            as_mp3(call.path) if with_audio else None,
        )
    )


def _sha256s(lineage: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the hashes in a lineage; the source's is inside of it."""
    for name, value in lineage.items():
        if isinstance(value, Mapping):
            yield from ((key, inner) for key, inner in value.items() if key.endswith("_sha256"))
        elif name.endswith("_sha256"):
            yield name, value
