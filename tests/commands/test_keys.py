"""`lsgmer keys`: the key alone on stdout, once; the list shows no secrets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lsgmer.cli import main
from lsgmer.core.errors import ExitCode
from lsgmer.core.paths import Workspace
from lsgmer.service.keys import Keys


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["lsgmer", "keys", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_a_key_from_its_making_to_its_end(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no keys" in call(monkeypatch, capsys, "list")[1]
    code, out, err = call(monkeypatch, capsys, "add", "web")
    assert code == ExitCode.DONE
    assert "shown only this once" in err
    secret = out.strip()
    running = Keys.read(Workspace(tmp_path).keys)
    assert running.who(secret) == "web"
    listed = call(monkeypatch, capsys, "list")[1]
    assert listed.startswith("web  made 20")
    assert listed.endswith("active\n")
    assert secret not in listed
    assert call(monkeypatch, capsys, "revoke", "web")[0] == ExitCode.DONE
    assert running.who(secret) is None
    assert "revoked 20" in call(monkeypatch, capsys, "list")[1]


@pytest.mark.parametrize(("arguments", "expected"), [(("add", "a b"), "not a name"), (("revoke", "x"), "no such key")])
def test_refusals_are_one_line(tmp_path: Path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capsys, *arguments)
    assert (code, out) == (ExitCode.ERROR, "")
    assert expected in err
    assert len(err.splitlines()) == 1
