"""The command line: what it imports, how it refuses, and its exit codes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsgmer.cli import app, main
from lsgmer.commands import models, predict
from lsgmer.core.errors import ExitCode, LsgmerError, ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.registry import champions
from lsgmer.registry.model_card import Forced
from tests.flows.fake_pipeline import PROJECT

HEAVY = ("torch", "prefect", "great_expectations", "bentoml", "transformers", "pandas", "dvc", "pydantic", "numpy")
COMMANDS = (
    *(
        "run",
        "check",
        "schedule",
        "serve",
        "champions",
        "promote",
        "audit",
        "predict",
        "analyze",
        "doctor",
        "corpora",
        "import-meld",
    ),
    "import-encoder",
)


def call(folder: Path, *arguments: str) -> tuple[int, str, float]:
    """Run `lsgmer ARGUMENTS` in `folder`; return exit code, output and seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "lsgmer.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def add_bento(root: Path, version: str) -> str:
    """Put what `champions` needs of a Bento into the store of `root`; return its tag."""
    source = root / ".bentoml/bentos/fake" / version / "src"
    for name in ("model", "papers"):
        (source / name).mkdir(parents=True)
    (source / "model/model.safetensors").write_text(version)
    from lsgmer.core.hashing import file_sha256

    weights = file_sha256(source / "model/model.safetensors")
    (source / "model/card.json").write_text(json.dumps({"weights_sha256": weights}))
    (source / "papers/model_card.json").write_text("{}")
    return f"fake:{version}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_imports_nothing_heavy_and_names_every_command() -> None:
    code = f"""
import sys
sys.argv = ["lsgmer", "--help"]
from lsgmer.cli import main
try:
    main()
except SystemExit:
    pass
print("heavy:", sorted(set({HEAVY}) & set(sys.modules)))
"""
    began = time.monotonic()
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "heavy: []" in output
    assert all(f"\n  {name} " in output for name in COMMANDS)
    named = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert named == {name.replace("-", "_") for name in COMMANDS}
    assert time.monotonic() - began < 5  # about 0.3 s alone; the rest is for a busy machine


def test_corpora_lists_every_reader_and_imports_nothing_heavy() -> None:
    code = f"""
import sys
sys.argv = ["lsgmer", "corpora"]
from lsgmer.cli import main
try:
    main()
except SystemExit:
    pass
print("heavy:", sorted((set({HEAVY}) - {{"pydantic"}}) & set(sys.modules)))  # typer itself loads pydantic
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "heavy: []" in output
    from lsgmer.corpora.readers import CORPORA

    for name in CORPORA:
        assert f"\n{name}: " in f"\n{output}"
    for said in ("10,039 utterances", "xxx 2507", "13,708", "535", "7,442", "by agreement with USC", "EmoEvaluation"):
        assert said in output


def test_importing_the_commands_loads_no_framework() -> None:
    modules = ", ".join(
        f"lsgmer.commands.{name}" for name in ("run", "models", "predict", "schedule", "corpora", "audit", "keys")
    )
    code = (
        f"import sys, {modules};"
        "print([n for n in ('torch', 'prefect', 'great_expectations', 'bentoml', 'pandas', 'dvc') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set", "train.epoch=3"), "train.epoch: unknown key; did you mean epochs?"),
        (("--set", "train.epochs=many"), "train.epochs"),
        (("--set", "train.epochs"), "expected section.key=value"),
        (("--params", "absent.yaml"), "absent.yaml: no such file"),
    ],
)
def test_bad_parameters_stop_at_once_with_exit_2(arguments: tuple[str, ...], expected: str) -> None:
    code, output, seconds = call(PROJECT, "run", *arguments)
    assert (code, expected in output) == (ExitCode.USAGE, True), output
    assert seconds < 5  # about 1 s alone; the rest is for a busy machine


def test_outside_a_workspace_it_says_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    code, output, _ = call(tmp_path, "run")
    assert code == ExitCode.ERROR
    assert "no dvc.yaml here" in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "either --cron"),
        (("--cron", "* * * * *", "--every", "5"), "either --cron"),
        (("--every", "0"), "at least 1 second"),
        (("--cron", "0 3 * * 1", "--timezone", "Mars/Olympus"), "Mars/Olympus: unknown"),
        (("--cron", "0 0 3 * * 1"), "has 6 fields, not 5"),
        (("--cron", "3 * * 1"), "has 4 fields, not 5"),
    ],
)
def test_bad_schedules_stop_at_once(arguments: tuple[str, ...], expected: str) -> None:
    code, output, _ = call(PROJECT, "schedule", *arguments)
    assert (code, expected in output) == (ExitCode.USAGE, True), output


def test_errors_become_messages_and_codes(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    for arguments, code in ((["serve"], 1), (["champions", "x:y"], 2), (["promote"], 1), (["predict"], 2)):
        monkeypatch.setattr(sys, "argv", ["lsgmer", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == code, arguments


def test_serve_without_a_champion_says_what_to_run(here: Path) -> None:
    with pytest.raises(LsgmerError, match=r"no champion yet; `lsgmer run`"):
        models.serve("127.0.0.1", 3000)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LsgmerError, match=f"cannot serve on 127.0.0.1:{port}: something else is listening there"):
            models.check_port("127.0.0.1", port)
    models.check_port("127.0.0.1", port)
    with pytest.raises(LsgmerError, match="choose another --host"):
        models.check_port("192.0.2.1", port)


def test_an_output_that_cannot_be_written_is_named_before_any_work(here: Path, capsys: pytest.CaptureFixture) -> None:
    for output, reason in (("absent/x.csv", "there is no folder absent"), (".", "is a folder")):
        with pytest.raises(LsgmerError, match=reason):
            predict.predict(["x.wav"], None, None, "csv", Path(output))


def test_an_error_of_the_system_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["lsgmer", "import-meld", "/proc", "/proc/nowhere/x"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == ExitCode.ERROR
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_champions_lists_marks_and_goes_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.champions(False, None)
    assert "no model was champion yet" in capsys.readouterr().out
    workspace = Workspace(here)
    one, two = add_bento(here, "1"), add_bento(here, "2")
    champions.promote(workspace, one)
    champions.promote(workspace, two, Forced(reason="the demo is today", by="ann"))
    models.champions(False, None)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(" ")
    assert "gate PASS" in first
    assert second.startswith("*")
    assert "forced by ann: the demo is today" in second
    models.champions(True, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("champion is now fake:1")
    assert [line[0] for line in lines[2:]] == [" ", " ", "*"]


def test_promote_needs_a_passing_gate_or_a_reason(here: Path) -> None:
    rule = {"name": "floor", "value": 0.1, "threshold": 0.5, "verdict": "REJECT", "reason": "too low"}
    gate = {"verdict": "REJECT", "rules": [rule], "metrics_sha256": "0", "weights_sha256": "0"}
    (here / "data/gate").mkdir(parents=True)
    (here / "data/gate/gate.json").write_text(json.dumps(gate))
    with pytest.raises(LsgmerError, match="verdict is REJECT") as caught:
        models.promote(False, None)
    assert caught.value.exit_code == ExitCode.REJECTED
    for force, reason in ((True, None), (True, "  "), (False, "because")):
        with pytest.raises(ParamsError, match="--reason"):
            models.promote(force, reason)
    gate["verdict"] = rule["verdict"] = "PASS"
    (here / "data/gate/gate.json").write_text(json.dumps(gate))
    with pytest.raises(LsgmerError, match="nothing is packaged"):
        models.promote(False, None)
    (here / "data/package").mkdir()
    (here / "data/package/package.json").write_text(json.dumps({"tag": add_bento(here, "9")}))
    models.promote(False, None)
    assert models.champion_of(Workspace(here)).tag == "fake:9"


def test_predict_formats_keep_good_and_bad_rows() -> None:
    good = {
        "source": "a.wav",
        "error": None,
        "emotion": "sad",
        "probabilities": {"angry": 0.25, "sad": 0.75},
        "attribution": {"angry": 0.5, "sad": 0.5},
        "consistency": 0.9,
        "modalities": ["audio"],
        "model_version": "fake:1",
    }
    rows = [{"source": "x.wav", "error": "no such file"}, good]
    assert json.loads(predict.as_json(rows)) == rows
    header, bad_row, good_row = predict.as_csv(rows).splitlines()
    assert header == "source,emotion,consistency,model_version,error,modalities,p_angry,p_sad"
    assert bad_row == "x.wav,,,,no such file,,,"
    assert good_row == "a.wav,sad,0.9,fake:1,,audio,0.25,0.75"
    assert "a.wav   sad      0.750        0.900        audio" in predict.as_table(rows)
