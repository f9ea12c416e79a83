"""The command `lsgmer`. Nothing heavy is imported here: each command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lsgmer.core.errors import ExitCode, LsgmerError

app = typer.Typer(
    help="Retrain, gate, package, serve and audit LSGMER, a label-guided speech + text emotion model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

experiments = typer.Typer(help="Studies: cross-validation, ablations, and their report.", no_args_is_help=True)
app.add_typer(experiments, name="experiments")
keys = typer.Typer(help="API keys of the service.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Quick = Annotated[bool, typer.Option("--quick", help="Only the quick part of the grids.")]
GridName = Annotated[str | None, typer.Option("--grid", help="Only this grid of experiments/params.yaml.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Example: --set train.epochs=3.")]
ParamsFile = Annotated[Path | None, typer.Option("--params", help="File of parameters that override params.yaml.")]
Transcribe = Annotated[
    bool, typer.Option("--transcribe", help="Where no words are given, a machine writes them (English).")
]
TranscriberFolder = Annotated[
    str | None,
    typer.Option("--transcriber", help="The folder of a Whisper model that --transcribe uses instead of Moonshine."),
]
Url = Annotated[str | None, typer.Option("--url", help="Ask this service instead: http://127.0.0.1:3000.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="With --url: holds the API key. Default: in $LSGMER_API_KEY, if any.")
]


@app.command()
def run(
    params: ParamsFile = None,
    set_: Set = None,
    workspace: Annotated[Path | None, typer.Option(help="Folder for the outputs; created if needed.")] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Get outputs from DVC's remote if dvc.lock has them.")] = False,
) -> None:
    """Bring the pipeline up to date: data to a packaged, promoted model. Exit 3: the gate did not pass."""
    from lsgmer.commands.run import run as body

    raise typer.Exit(body(params, set_ or [], workspace, pull))


@app.command()
def check(
    params: ParamsFile = None,
    set_: Set = None,
    table: Annotated[Path | None, typer.Option(help="Check this table instead of the corpus's own.")] = None,
) -> None:
    """Say in seconds what a run would make of the corpus. Exit 1: a run would fail."""
    from lsgmer.commands.check import check as body

    raise typer.Exit(body(params, set_ or [], table))


@app.command()
def schedule(
    cron: Annotated[str | None, typer.Option(help='Cron expression: "0 3 * * 1" is Mondays at 3:00.')] = None,
    every: Annotated[float | None, typer.Option(help="Instead of --cron: the interval in seconds.")] = None,
    timezone: Annotated[str, typer.Option(help="The time zone of --cron.")] = "UTC",
    webhook: Annotated[str | None, typer.Option(help="URL that gets a JSON POST on failure or rejection.")] = None,
) -> None:
    """Retrain on a schedule until Ctrl-C, on a Prefect server; each run leaves its records in runs/ID/."""
    from lsgmer.commands.schedule import schedule as body

    raise typer.Exit(body(cron, every, timezone, webhook))


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 accepts connections from other machines; needs `lsgmer keys add`.")
    ] = "127.0.0.1",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the service, NAME=VALUE: --set max_audio_s=30")
    ] = None,
    settings: Annotated[bool, typer.Option("--settings", help="List the settings, and do not serve.")] = False,
) -> None:
    """Serve the champion: POST /predict and /predict_batch, /card, /lineage, and a page at /."""
    from lsgmer.commands.models import serve as body

    body(host, port, set_ or [], settings)


@app.command()
def champions(
    back: Annotated[bool, typer.Option("--back", help="Go back to TAG, or to the champion before this one.")] = False,
    tag: Annotated[str | None, typer.Argument(help="With --back: which model.")] = None,
) -> None:
    """List every model that was champion, or go back to an older one."""
    from lsgmer.commands.models import champions as body

    body(back, tag)


@app.command()
def promote(
    force: Annotated[bool, typer.Option("--force", help="Override the gate; recorded.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; required with --force.")] = None,
) -> None:
    """Make the packaged model the champion."""
    from lsgmer.commands.models import promote as body

    body(force, reason)


@app.command()
def audit(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL-OR-BENTO|log|REQUEST-ID", help="A Bento's tag, a folder, log, or the id of a logged request."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Of the log of predictions (default: .lsgmer/predictions).")
    ] = None,
) -> None:
    """Recompute every hash from the package, or from a logged request, back to the raw data. Exit 5: broken."""
    from lsgmer.commands.audit import audit as body

    raise typer.Exit(body(target, json, folder))


@app.command()
def predict(
    paths: Annotated[list[str] | None, typer.Argument(metavar="[AUDIO]...", help="Files or globs.")] = None,
    text: Annotated[str | None, typer.Option(help="The words: of a single file, or alone.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV, TSV, JSONL, XLSX or Parquet with columns audio and/or text.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="A field's column in the table, where it has another name: audio=path.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of the table. Default: the one its header suits.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Of an XLSX table. Default: the first.")] = None,
    format: Annotated[str, typer.Option(help="table, json or csv.")] = "table",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")] = None,
    channel: Annotated[
        str | None, typer.Option(help="Of recordings with several: 0, 1, ..., left or right. Default: all, mixed.")
    ] = None,
    transcribe: Transcribe = False,
    transcriber: TranscriberFolder = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Predict files or a table with the champion or a service. Exit 1: one failed; the others are in the output."""
    from lsgmer.commands.predict import predict as body
    from lsgmer.commands.queries import table_source

    source = table_source(table, delimiter, sheet, column or ())
    writer = transcriber or ("moonshine" if transcribe else None)
    raise typer.Exit(body(paths or [], text, source, format, output, channel, writer, url, key_file))


@app.command()
def analyze(
    calls: Annotated[list[str], typer.Argument(metavar="CALL...", help="Recordings of calls: files or globs.")],
    turns: Annotated[
        Path | None,
        typer.Option(
            help="Who speaks when: RTTM, SRT, VTT, JSON, CSV; for several calls a folder. Default: found by voice."
        ),
    ] = None,
    transcribe: Transcribe = False,
    transcriber: TranscriberFolder = None,
    speakers: Annotated[str | None, typer.Option(help="Names by channel: agent,customer")] = None,
    negative: Annotated[str | None, typer.Option(help="The emotions that count as negative: angry,sad")] = None,
    format: Annotated[str, typer.Option(help="table, json or csv.")] = "table",
    output: Annotated[
        str | None, typer.Option(help="Write to this file, or to a folder (FOLDER/) with a file for each call.")
    ] = None,
    html: Annotated[
        str | None, typer.Option(help="Write a report to this file, or one for each call to a folder (FOLDER/).")
    ] = None,
    with_audio: Annotated[bool, typer.Option("--with-audio", help="Put the recording into the report.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Find the turns and emotions in calls, with the champion or a service. Exit 1: at least one call failed."""
    from lsgmer.commands.analyze import analyze as body
    from lsgmer.commands.calls import Options, names_in
    from lsgmer.core.process import interrupt_on_signals

    interrupt_on_signals()  # so that a job is cancelled also where this is ended by SIGTERM
    negatives = None if negative is None else names_in(negative, "--negative")
    writer = transcriber or ("moonshine" if transcribe else None)
    options = Options(turns, writer, names_in(speakers, "--speakers"), negatives, format, output, html, with_audio)
    raise typer.Exit(body(calls, options, url, key_file))


@app.command()
def corpora() -> None:
    """List the corpora that can be read: layout, licence, how to get each, and what must be in it."""
    from lsgmer.commands.corpora import corpora as body

    body()


@app.command("import-meld")
def import_meld(
    source: Annotated[Path, typer.Argument(metavar="MELD.RAW", help="The unpacked release; it is not changed.")],
    destination: Annotated[Path, typer.Argument(metavar="FOLDER", help="Becomes corpus.path.")],
) -> None:
    """Turn MELD's video clips into WAV files with ffmpeg; resumes where it stopped. Exit 1: some clips failed."""
    from lsgmer.commands.corpora import import_meld as body

    raise typer.Exit(body(source, destination))


@app.command("import-encoder")
def import_encoder(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, or a hub id such as microsoft/wavlm-base.")
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Becomes features.audio.source or .text.source.")
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id (default: main).")] = None,
) -> None:
    """Turn an encoder, also one with pickled weights, into a folder that a run reads; a hub id needs the network."""
    from lsgmer.commands.import_encoder import import_encoder as body

    body(source, destination, revision)


@app.command()
def doctor() -> None:
    """Check whether this machine can run lsgmer: versions, threads, device, offline switches. Exit 1: it cannot."""
    from lsgmer.commands.doctor import doctor as body

    raise typer.Exit(body())


@keys.command("add")
def keys_add(name: Annotated[str, typer.Argument(help="Who or what uses it; the log names it.")]) -> None:
    """Make a key and print it, the only time it is shown."""
    from lsgmer.commands.keys import add as body

    body(name)


@keys.command("list")
def keys_list() -> None:
    """List the keys' names, when each was made, and which are revoked."""
    from lsgmer.commands.keys import show as body

    body()


@keys.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="As `lsgmer keys list` shows it.")]) -> None:
    """Revoke a key, at once and for good; no restart is needed."""
    from lsgmer.commands.keys import revoke as body

    body(name)


@experiments.command("run")
def experiments_run(
    quick: Quick = False,
    grid: GridName = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Single-threaded processes to run at once (default: all cores).")
    ] = None,
) -> None:
    """Run every cell (study, variant, fold, seed) that is out of date; finished cells are kept."""
    from lsgmer.commands.experiments import run as body

    body(Path.cwd(), quick, jobs, grid)


@experiments.command("report")
def experiments_report(
    quick: Quick = False,
    grid: GridName = None,
    out: Annotated[Path, typer.Option(help="The Markdown file; pictures go to a folder of the same name.")] = Path(
        "experiments/report/results.md"
    ),
    pictures: Annotated[str, typer.Option(help="png or svg.")] = "png",
) -> None:
    """Write tables and pictures of all finished cells; needs no network."""
    from lsgmer.commands.experiments import report as body

    body(Path.cwd(), quick, grid, out, pictures)


def main() -> None:
    """Run the command; an LsgmerError, or one of the system about a file, becomes a message and an exit code."""
    try:
        app()
    except LsgmerError as error:
        print(f"lsgmer: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # of `lsgmer ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.ERROR)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"lsgmer: error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(ExitCode.ERROR)


if __name__ == "__main__":
    main()
