"""`lsgmer audit` of the log of predictions and of one request; tests/pipeline/test_golden.py audits real packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lsgmer.cli import main
from lsgmer.commands import audit as module
from lsgmer.commands.audit import audit
from lsgmer.core.errors import ExitCode, LsgmerError, ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.registry.audit import AuditReport, Link
from lsgmer.service.entries import FeedbackEntry
from lsgmer.service.prediction_log import PredictionLog
from tests.commands.test_cli import add_bento
from tests.support.logs import entry


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log(here: Path) -> PredictionLog:
    log = PredictionLog(Workspace(here).predictions)
    for i in range(3):
        log.append(entry(f"r{i}", model="fake:1"))
    log.append(FeedbackEntry(request_id="r1", label="happy", key="web"))
    return log


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packages whose every link is verified; the tags that were asked for."""
    asked: list[str] = []

    def examine(workspace: Workspace, tag: str) -> AuditReport:
        asked.append(tag)
        return AuditReport(target=tag, links=(Link(name="raw data", status="verified", details=("all",)),))

    monkeypatch.setattr(module, "_examine", examine)
    return asked


def change(log: PredictionLog, old: bytes, new: bytes) -> None:
    path = log.folder / "log-000001.jsonl"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_a_whole_log_is_counted(log, capsys):
    assert audit("log", False, None) == ExitCode.DONE
    output = capsys.readouterr().out
    for said in ("5 verified, in 1 file", "feedback 1, prediction 3, start 1", "fake:1 3", "the chain is whole"):
        assert said in output
    assert audit("log", True, None) == ExitCode.DONE
    report = json.loads(capsys.readouterr().out)
    assert (report["broken"], report["models"], report["seq"]) == (None, {"fake:1": 3}, 5)


def test_the_first_broken_line_is_named_with_exit_5(log, capsys, monkeypatch):
    change(log, b'"request_id":"r1"', b'"request_id":"r7"')
    monkeypatch.setattr(sys, "argv", ["lsgmer", "audit", "log"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == ExitCode.BROKEN
    assert "broken at log-000001.jsonl, line 3: changed: its bytes" in capsys.readouterr().out
    assert audit("log", True, None) == ExitCode.BROKEN
    broken = json.loads(capsys.readouterr().out)["broken"]
    assert (broken["file"], broken["line"], broken["reason"]) == ("log-000001.jsonl", 3, "changed")


def test_a_log_elsewhere_is_named_with_folder(log, here, capsys):
    log.folder.rename(here / "copied")
    with pytest.raises(LsgmerError, match=r"\.lsgmer/predictions: no prediction log here"):
        audit("log", False, None)
    assert audit("log", False, here / "copied") == ExitCode.DONE


def test_a_request_is_followed_from_its_line_to_the_raw_data(log, verified, capsys):
    assert audit("r1", False, None) == ExitCode.DONE
    output = capsys.readouterr().out
    for said in (
        "request r1", "log-000001.jsonl, line 3", 'output.emotion', '"sad"', "inputs.audio_sha256", "line 5", '"happy"',
        "the chain is whole", "audit of fake:1", "verified  raw data",
    ):  # fmt: skip
        assert said in output, said
    assert '"r0"' not in output
    assert audit("r1", True, log.folder) == ExitCode.DONE
    content = json.loads(capsys.readouterr().out)
    assert [line["content"]["kind"] for line in content["lines"]] == ["prediction", "feedback"]
    assert [model["target"] for model in content["models"]] == ["fake:1"]
    assert verified == ["fake:1", "fake:1"]


def test_a_request_of_a_broken_log_or_model_exits_with_5(log, here, verified, capsys):
    change(log, b'"request_id":"r0"', b'"request_id":"r7"')
    assert audit("r1", False, None) == ExitCode.BROKEN
    assert "broken at log-000001.jsonl, line 2" in capsys.readouterr().out


def test_a_changed_line_is_still_shown(log, verified, capsys):
    change(log, b'"emotion":"sad"', b'"emotion":"mad"')
    assert audit("r0", False, None) == ExitCode.BROKEN
    output = capsys.readouterr().out
    assert '"mad"' in output
    assert "broken at log-000001.jsonl, line 2: changed" in output
    change(log, b'"request_id":"r0"', b'"request_id":"r7"')
    with pytest.raises(LsgmerError, match=r"no request has that id in the log .*, which is broken"):
        audit("r0", False, None)


def test_a_request_whose_model_is_broken_exits_with_5(log, here, capsys):
    add_bento(here, "1")  # whose model card is an empty object
    assert audit("r1", False, None) == ExitCode.BROKEN
    assert "broken    package" in capsys.readouterr().out


def test_a_request_whose_model_is_gone_is_shown_and_then_an_error(log, capsys):
    with pytest.raises(LsgmerError, match="fake:1: no such Bento"):
        audit("r1", False, None)
    assert "the chain is whole" in capsys.readouterr().out


def test_feedback_without_its_prediction_has_no_model_to_audit(log, verified, capsys):
    log.append(FeedbackEntry(request_id="old", label="sad"))
    assert audit("old", False, None) == ExitCode.DONE
    assert verified == []


def test_neither_package_nor_request(log, here):
    with pytest.raises(LsgmerError, match=r"'r9': not a tag.*and no request has that id in the log .*predictions"):
        audit("r9", False, None)
    with pytest.raises(LsgmerError, match="fake:7: no such Bento"):
        audit("fake:7", False, None)
    add_bento(here, "1")
    with pytest.raises(ParamsError, match="fake:1 is a package: --folder goes with"):
        audit("fake:1", False, log.folder)


def test_without_a_log_the_error_is_that_of_the_package(here):
    with pytest.raises(LsgmerError, match=r"^'r1': not a tag; write NAME:VERSION, as `lsgmer champions` lists them$"):
        audit("r1", False, None)
