"""One run at a time, and no leftovers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lsgmer.core.paths import Workspace
from lsgmer.core.process import identity, is_alive
from lsgmer.workspace import lock as runs

HOLD = """
import sys, time
from pathlib import Path
from lsgmer.workspace.lock import exclusive
from lsgmer.core.paths import Workspace
with exclusive(Workspace(Path(sys.argv[1])), "a test"):
    print("held", flush=True)
    time.sleep(60)
"""


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    runs.check_free(workspace)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for attempt in (runs.check_free, lambda w: runs.exclusive(w, "me").__enter__()):
        with pytest.raises(runs.Busy, match=rf"process {holder.pid}, a test, since"):
            attempt(workspace)
    holder.kill()
    holder.communicate()
    with runs.exclusive(workspace, "me"):
        pass
    assert not runs.note_path(workspace).exists()


def test_one_process_may_hold_it_twice(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with runs.exclusive(workspace, "outer"):
        with runs.exclusive(workspace, "inner"):
            assert json.loads(runs.note_path(workspace).read_text())["what"] == "outer"
        assert runs.note_path(workspace).exists()


def test_children_of_a_dead_run_are_ended_and_of_a_live_one_kept(tmp_path: Path) -> None:
    workspace, child = Workspace(tmp_path), sleeper()
    with runs.exclusive(workspace, "me"):
        runs.record_children(workspace)
        assert identity(child.pid) in json.loads(runs.note_path(workspace).read_text())["children"]
        assert runs.end_leftovers(workspace) == []
    assert is_alive(identity(child.pid))
    note = runs.Holder(owner="999999:1.00", what="a killed run", since="then", children=(identity(child.pid),))
    runs.note_path(workspace).write_text(note.to_json())
    with runs.exclusive(workspace, "the next"):
        assert not psutil.pid_exists(child.pid)
