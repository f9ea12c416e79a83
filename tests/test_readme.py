"""The README's claims that can be checked without running the pipeline."""

from __future__ import annotations

import re
from pathlib import Path

from lsgmer.cli import app
from lsgmer.core.errors import ExitCode

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_exit_code_table_is_the_enum():
    rows = re.findall(r"^\| (\d) \| ", README, re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in ExitCode]


def test_every_command_is_in_the_table():
    named = set(re.findall(r"lsgmer ([a-z-]+)", README))
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    assert commands <= named


def test_the_first_screen_shows_the_two_commands():
    first = README.splitlines()[:12]
    assert any(line.startswith("make run") for line in first)
    assert any(line.startswith("make test") for line in first)


def test_every_make_target_and_document_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"`((?:docs|params|lsgmer|serving|experiments)/[\w./-]+)`", README):
        assert (ROOT / path).exists() or path == "params/mine.yaml", path
