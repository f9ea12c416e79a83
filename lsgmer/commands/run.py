"""`lsgmer run`: check the parameters, look whether anything is to do, and only then start the flow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lsgmer import stages, summary, workspaces
from lsgmer.commands.child import run_module
from lsgmer.exclusive import check_free
from lsgmer.params import load_params
from lsgmer.paths import Workspace


def run(params_file: Path | None, overrides: Sequence[str], folder: Path | None) -> int:
    """Bring a workspace up to date and return the exit code. Raises ParamsError, Busy and other LsgmerErrors."""
    workspace = choose(Path.cwd(), params_file, overrides, folder)
    check_free(workspace)
    if nothing_to_do(workspace):
        print(f"everything is up to date\n\n{summary.render(workspace)}")
        return summary.verdict_code(workspace)
    print("starting (Prefect takes 10 seconds, half a minute the first time)", flush=True)
    return run_module(workspace, "flows.pipeline")


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
