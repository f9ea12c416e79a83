"""`lsgmer run`: check the parameters, look whether anything is to do, and only then start the flow."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lsgmer import stages, summary, workspaces
from lsgmer.errors import ExitCode
from lsgmer.exclusive import check_free, end_leftovers
from lsgmer.params import load_params
from lsgmer.paths import Workspace
from lsgmer.runtime import identity
from lsgmer.servers import known_server

WATCHED = "LSGMER_PARENT"  # flows.pipeline ends itself when the process this names is gone
STOP_S = 60.0


def run(params_file: Path | None, overrides: Sequence[str], folder: Path | None) -> int:
    """Bring a workspace up to date and return the exit code. Raises ParamsError, Busy and other LsgmerErrors."""
    workspace = choose(Path.cwd(), params_file, overrides, folder)
    check_free(workspace)
    if nothing_to_do(workspace):
        print(f"everything is up to date\n\n{summary.render(workspace)}")
        return summary.verdict_code(workspace)
    return run_flow(workspace)


def choose(root: Path, params_file: Path | None, overrides: Sequence[str], folder: Path | None) -> Workspace:
    """Return the workspace to run in, checked: the current folder, or one made for other parameters."""
    changed = params_file is not None or bool(overrides)
    known = folder is not None and not changed and (folder / "params.yaml").is_file()
    content, _ = workspaces.effective(folder if known and folder else root, params_file, overrides)
    stages.check_workspace(root)
    if not changed and (folder is None or folder.resolve() == root.resolve()):
        return Workspace(root)
    folder = folder or workspaces.default_folder(root, params_file, overrides, content)
    check_free(Workspace(folder.resolve()))
    if known:
        content = workspaces.rebase(content, folder.resolve(), folder.resolve())
    workspace = workspaces.prepare(root, folder, content)
    load_params(workspace.params)
    print(f"products go to {os.path.relpath(workspace.root)}; {root / 'params.yaml'} stays as it is", flush=True)
    return workspace


def nothing_to_do(workspace: Workspace) -> bool:
    """Ask DVC whether every stage is up to date; what a rejected model leaves unpackaged counts as done."""
    if not workspace.lock.is_file():
        return False
    todo = stages.unclean(workspace.root)
    if summary.verdict_code(workspace):
        todo -= {stages.PACKAGE}
    return not todo and summary.to_promote(workspace) is None


def run_flow(workspace: Workspace) -> int:
    """Run `python -m flows.pipeline` in `workspace`, its output on ours, and leave no process behind."""
    environment = {**stages.environment(), WATCHED: identity(os.getpid())}
    server = known_server(workspace)
    if server and "PREFECT_API_URL" not in environment:
        environment["PREFECT_API_URL"] = server
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.pipeline"],
        cwd=workspace.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return attend(process)
    finally:
        signal.signal(signal.SIGTERM, previous)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what a killed flow leaves in its group: its Prefect server
        end_leftovers(workspace)


def attend(process: subprocess.Popen[bytes]) -> int:
    """Wait for the flow; on Ctrl-C let it end its stage and save, on a second one end it at once."""
    try:
        code = process.wait()
    except KeyboardInterrupt:
        print("\nstopping: the stage ends and keeps its work (Ctrl-C again: at once)", file=sys.stderr, flush=True)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(timeout=STOP_S)
        return 130
    if code < 0:
        print(
            f"lsgmer: error: the run was ended from outside by signal {-code}; finished work is kept: "
            "run the same command again to go on",
            file=sys.stderr,
        )
        return ExitCode.ERROR
    return code
