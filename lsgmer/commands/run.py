"""`lsgmer run`: check the parameters and whether there is anything to do, and only then start the flow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lsgmer.commands.flow_process import run_module
from lsgmer.core.paths import Workspace
from lsgmer.core.sections import rebase
from lsgmer.features.links import refresh_links
from lsgmer.params import load_params
from lsgmer.registry.promotion import to_promote, verdict_code
from lsgmer.workspace import copies, dvc, outcome
from lsgmer.workspace.lock import check_free
from lsgmer.workspace.prefect_server import check_server


def run(params_file: Path | None, overrides: Sequence[str], folder: Path | None, pull: bool = False) -> int:
    """Bring a workspace up to date and return the exit code. Raises ParamsError, Busy and other LsgmerErrors.

    With `pull`, what dvc.lock records comes from DVC's remote where it can.
    """
    workspace = choose(Path.cwd(), params_file, overrides, folder)
    check_free(workspace)
    refresh_links(workspace)
    if nothing_to_do(workspace):
        print(f"everything is up to date: every stage is skipped\n\n{outcome.render(workspace)}")
        return verdict_code(workspace)
    check_server()
    print("starting (Prefect takes 10 seconds, half a minute the first time)", flush=True)
    return run_module(workspace, "flows.pipeline", ["--pull"] if pull else [])


def choose(root: Path, params_file: Path | None, overrides: Sequence[str], folder: Path | None) -> Workspace:
    """Return the workspace to run in, checked: the current folder, or a copy made for other parameters."""
    changed = params_file is not None or bool(overrides)
    known = folder is not None and not changed and (folder / "params.yaml").is_file()
    content, _ = copies.effective(folder if known and folder else root, params_file, overrides)
    dvc.check_workspace(root)
    if not changed and (folder is None or folder.resolve() == root.resolve()):
        return Workspace(root)
    folder = folder or copies.default_folder(root, params_file, overrides, content)
    check_free(Workspace(folder.resolve()))
    if known:
        content = rebase(content, folder.resolve(), folder.resolve())
    workspace = copies.prepare(root, folder, content)
    load_params(workspace.params)
    print(f"outputs go to {os.path.relpath(workspace.root)}; {root / 'params.yaml'} is not changed", flush=True)
    return workspace


def nothing_to_do(workspace: Workspace) -> bool:
    """Ask DVC whether every stage is up to date; packaging is not to do when the gate rejected the model."""
    if not workspace.lock.is_file():
        return False
    todo = dvc.unclean(workspace.root)
    if verdict_code(workspace):
        todo -= {dvc.PACKAGE}
    return not todo and to_promote(workspace) is None
