"""`lsgmer analyze`: the champion and a service find the same in a call; one bad call, or Ctrl-C, spoils nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from lsgmer.commands.analyze import analyze
from lsgmer.commands.call_outputs import Outcome, as_csv, as_json, as_table
from lsgmer.commands.calls import Options, gather, names_in
from lsgmer.conversations.records import Analysis
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.encoders.weights import package_file
from lsgmer.registry import champions
from tests.serving.test_transcripts import installed
from tests.support.analyses import HOSTILE, LABELS, make_analysis, write_call
from tests.support.server import Served

TURNS = 12


@pytest.fixture(scope="module")
def project(served: Served) -> Iterator[Served]:
    """The served model is the champion of the current folder, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(served.workspace.root)
        champions.promote(served.workspace, served.record.tag)
        yield served


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call with a file of its turns beside it."""
    folder = tmp_path_factory.mktemp("call")
    analysis = make_analysis(TURNS, 30.0)
    write_call(folder / "call.wav", analysis)
    lines = [{**turn.turn.model_dump(mode="json"), "automatic": False} for turn in analysis.timeline]
    (folder / "call.json").write_text(json.dumps(lines))
    return folder / "call.wav"


def analysed(capsys: pytest.CaptureFixture[str], *arguments: object, **options: object) -> tuple[int, list[dict], str]:
    """Return the exit code, the rows, and what was said on stderr."""
    url = options.pop("url", None)
    code = analyze([str(argument) for argument in arguments], Options(kind="json", **options), url)  # type: ignore[arg-type]
    shown = capsys.readouterr()
    return code, json.loads(shown.out), shown.err


def jobs_of(project: Served) -> dict[str, str]:
    """Return the status of each job that the service knows."""
    return {job["job_id"]: job["status"] for job in httpx.get(f"{project.url}/analyze").json()["jobs"]}


def test_a_service_finds_what_the_champion_finds(project: Served, call: Path, capsys, tmp_path: Path) -> None:
    options = {"turns": call.with_suffix(".json"), "negative": ("angry",), "speakers": ("agent", "customer")}
    code, (local,), _ = analysed(capsys, call, **options, html=str(tmp_path / "local.html"))
    assert code == 0
    before = jobs_of(project)
    code, (asked,), _ = analysed(capsys, call, **options, url=project.url, html=f"{tmp_path}/reports/")
    assert code == 0
    assert len(local["timeline"]) == len(asked["timeline"]) == TURNS
    assert local["summary"]["negative_labels"] == ["angry"]
    for mine, theirs in zip(local["timeline"], asked["timeline"], strict=True):
        assert mine["probabilities"] is not None
        for field in ("probabilities", "attribution", "contribution", "consistency"):
            assert theirs.pop(field) == pytest.approx(mine.pop(field), abs=1e-6)
        assert mine == theirs
    assert {key for key in local if local[key] != asked[key]} <= {"summary", "speakers"}, "their last bits may differ"
    assert jobs_of(project) == before, "the service forgets the call"
    pages = [(tmp_path / name).read_text() for name in ("local.html", "reports/call.html")]
    hashes = [page[page.index("Where this comes from") :] for page in pages]
    assert hashes[0].count("(sha256)") >= 8
    assert project.record.weights_sha256 in hashes[0]
    assert project.record.weights_sha256 in hashes[1]


def test_turns_beside_a_call_are_named_and_not_read(project: Served, call: Path, capsys) -> None:
    code, (row,), said = analysed(capsys, call, url=project.url)
    assert code == 0
    assert row["turns_from"] == "voice activity"
    assert "call.json lies beside call.wav and is not read; --turns names it" in said
    assert "nobody speaks" in said, "tones are no voices"


def test_a_bad_call_is_reported_and_the_others_are_kept(project: Served, call: Path, capsys, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("no audio")
    (tmp_path / "turns").mkdir()
    for name in ("call", "notes", "absent"):
        (tmp_path / "turns" / f"{name}.json").write_text(call.with_suffix(".json").read_text())
    calls = (tmp_path / "notes.wav", call, tmp_path / "absent.wav")
    for url in (None, project.url):
        code, rows, said = analysed(capsys, *calls, url=url, turns=tmp_path / "turns")
        assert code == 1
        assert [row["source"] for row in rows] == [str(path) for path in calls]
        assert [row["error"] is None for row in rows] == [False, True, False]
        assert "notes.wav: " in said
        assert "2 of 3 could not be analysed" in said
        code = analyze(list(map(str, calls)), Options(tmp_path / "turns", kind="csv", output=f"{tmp_path}/out/"), url)
        assert code == 1
        assert capsys.readouterr().out == ""
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["absent.csv", "call.csv", "notes.csv"]
        assert len((tmp_path / "out" / "call.csv").read_text().splitlines()) == 1 + TURNS


def test_ctrl_c_cancels_the_job_and_forgets_the_call(project: Served, tmp_path: Path) -> None:
    analysis = make_analysis(800, 400.0)
    write_call(tmp_path / "long.flac", analysis)
    (tmp_path / "turns.json").write_text(json.dumps([turn.turn.model_dump(mode="json") for turn in analysis.timeline]))
    command = [
        sys.executable,
        "-m",
        "lsgmer.cli",
        "analyze",
        "long.flac",
        "--turns",
        "turns.json",
        "--url",
        project.url,
    ]
    before = jobs_of(project)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while "running" not in jobs_of(project).values():
        assert time.monotonic() < until
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode not in (0, -signal.SIGINT), said
    assert "Traceback" not in said
    until = time.monotonic() + 20
    while any(status != "cancelled" for job, status in jobs_of(project).items() if job not in before):
        assert time.monotonic() < until
        time.sleep(0.1)


@installed
def test_automatic_words_are_the_same_from_both(project: Served, capsys, tmp_path: Path) -> None:
    (tmp_path / "beckett.wav").write_bytes(package_file("package:moonshine_voice/assets/beckett.wav").read_bytes())
    rows = []
    for url in (None, project.url):
        code, (row,), _ = analysed(capsys, tmp_path / "beckett.wav", url=url, transcriber="moonshine")
        assert code == 0
        rows.append([(turn["text"], turn["automatic"], turn["start_s"]) for turn in row["timeline"]])
    assert rows[0] == rows[1]
    assert any(text and automatic for text, automatic, _ in rows[0])


def test_the_turns_of_several_calls_come_from_a_folder_and_their_outputs_go_to_one(tmp_path: Path) -> None:
    for name in ("a/call.wav", "b/call.wav", "b/call.srt", "turns/call.rttm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    calls = gather([f"{tmp_path}/*/call.wav"], Options(turns=tmp_path / "turns", html=f"{tmp_path}/html/"))
    assert [call.html.name for call in calls if call.html] == ["a-call.wav.html", "b-call.wav.html"]
    assert {call.turns for call in calls} == {tmp_path / "turns" / "call.rttm"}
    assert [call.unused for call in gather([f"{tmp_path}/*/call.wav"], Options())] == [None, tmp_path / "b/call.srt"]
    (tmp_path / "turns" / "call.vtt").touch()
    with pytest.raises(LsgmerError, match=r"needs one file for call.wav, and has call.rttm, call.vtt"):
        gather([f"{tmp_path}/a/call.wav"], Options(turns=tmp_path / "turns"))
    for options, reason in (
        (Options(turns=tmp_path / "turns" / "call.rttm"), "is one file for several calls"),
        (Options(html=str(tmp_path / "page.html")), "several calls need a folder"),
        (Options(kind="xml"), "one of table, json, csv"),
        (Options(with_audio=True), "--with-audio goes with --html"),
    ):
        with pytest.raises(ParamsError, match=reason):
            gather([f"{tmp_path}/*/call.wav"], options)
    with pytest.raises(ParamsError, match="--speakers"):
        names_in("agent,,customer", "--speakers")


def test_every_form_holds_the_whole_analysis() -> None:
    analysis = make_analysis()
    outcomes = [Outcome("a.wav", analysis), Outcome("b.wav", None, "missing: there is no such file")]
    first, second = json.loads(as_json(outcomes))
    assert (first.pop("source"), first.pop("error")) == ("a.wav", None)
    assert Analysis.model_validate_json(json.dumps(first)) == analysis
    assert second == {"source": "b.wav", "error": "missing: there is no such file"}
    rows = list(csv.DictReader(io.StringIO(as_csv(outcomes))))
    assert len(rows) == len(analysis.timeline) + 1
    assert rows[1]["text"] == HOSTILE
    assert float(rows[0]["p_angry"]) == (analysis.timeline[0].probabilities or {})["angry"]
    assert {f"p_{label}" for label in LABELS} <= rows[0].keys()
    shown = as_table([Outcome("a.wav", make_analysis(names=("a\x1b[2Jgent", "customer")))])
    assert "\x1b" not in shown
    assert "turns at 01:05.20: customer, neutral to angry" in shown


def test_the_report_of_a_call_that_cannot_carry_audio_keeps_the_analysis(
    project: Served, capsys, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "fine.wav", 0.1 * np.sin(np.arange(96_000) / 9), 96_000)
    (tmp_path / "t.rttm").write_text("SPEAKER fine 1 0.1 0.8 <NA> <NA> ann <NA> <NA>\n")
    options = {"turns": tmp_path / "t.rttm", "html": str(tmp_path / "r.html"), "with_audio": True}
    code, (row,), said = analysed(capsys, tmp_path / "fine.wav", url=project.url, **options)
    assert code == 1
    assert len(row["timeline"]) == 1
    assert "96000 Hz cannot be put into a page" in said
