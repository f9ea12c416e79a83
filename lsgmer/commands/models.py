"""The commands for packaged models: serve, champions, promote."""

from __future__ import annotations

import errno
import getpass
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lsgmer.core.errors import GateRejected, LsgmerError, PackagingRefused, ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.core.process import is_own_address
from lsgmer.registry import champions as store
from lsgmer.registry.model_card import Forced
from lsgmer.registry.promotion import packaged_tag, read_gate
from lsgmer.registry.trial import serve_command
from lsgmer.service.keys import Keys
from lsgmer.service.settings import PREFIX, as_environment, read_settings, table
from lsgmer.workspace import dvc

FORCE_REASON = "--force-reason"  # of lsgmer.stages.package


def champion_of(workspace: Workspace) -> store.Champion:
    """Return the champion. Raises LsgmerError, saying what to run, when there is none."""
    champion = store.read(workspace)
    if champion is None:
        raise LsgmerError(f"{workspace.root}: no champion yet; `lsgmer run` trains, gates, packages and promotes one")
    return champion


def serve(host: str, port: int, assignments: Sequence[str] = (), listed: bool = False) -> None:
    """Replace this process with `bentoml serve`, after checking the champion's hashes.

    Args:
        host: the address to listen on; other machines are only answered with API keys.
        port: the port to listen on.
        assignments: settings of the service, as NAME=VALUE.
        listed: print the settings instead.

    """
    if listed:
        print(table())
        return
    given = as_environment(assignments)
    workspace = Workspace(Path.cwd())
    champion = champion_of(workspace)
    store.verified_source(workspace, champion)
    check_port(host, port)
    usual = {f"{PREFIX}LOG": str(workspace.predictions), f"{PREFIX}JOBS": str(workspace.jobs)}
    if Keys.read(workspace.keys).any_made:
        usual[f"{PREFIX}KEYS"] = str(workspace.keys)
    environment = {**usual, **dvc.environment(), **given, "BENTOML_HOME": str(workspace.bentos)}
    settings = read_settings(environment)
    if settings.transcribes and Path(settings.transcribe).expanduser().is_dir():
        environment[f"{PREFIX}TRANSCRIBE"] = str(Path(settings.transcribe).expanduser().resolve())
    if not is_own_address(host) and not environment.get(f"{PREFIX}KEYS"):
        raise LsgmerError(f"--host {host}: other machines are answered only with an API key; `lsgmer keys add NAME`")
    print(f"serving {champion.tag} on http://{host}:{port} (Ctrl-C stops it)", flush=True)
    print(f"API keys: {environment.get(f'{PREFIX}KEYS') or 'none, so only this machine is answered'}", flush=True)
    print(f"answers are logged in {environment[f'{PREFIX}LOG'] or 'no file'}", flush=True)
    command = serve_command(store.bento_folder(workspace, champion.tag), host, port)
    os.execve(sys.executable, command, environment)  # noqa: S606


def check_port(host: str, port: int) -> None:
    """Raise LsgmerError, naming what to do, when no server can listen on `host` and `port`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, after one that just ended
        try:
            probe.bind((host, port))
        except OSError as error:
            why = {
                errno.EADDRINUSE: "something else is listening there; stop it, or choose another --port",
                errno.EACCES: "ports below 1024 are for administrators; choose another --port",
            }.get(error.errno or 0, f"{error.strerror or error}; choose another --host")
            raise LsgmerError(f"cannot serve on {host}:{port}: {why}") from None


def champions(back: bool, tag: str | None) -> None:
    """Print every promotion, oldest first, the current champion marked; with `back`, first go back to an older one."""
    workspace = Workspace(Path.cwd())
    if tag and not back:
        raise ParamsError(f"{tag}: to go back to it, write `lsgmer champions --back {tag}`")
    if back:
        print(f"champion is now {store.go_back(workspace, tag).tag}; restart `lsgmer serve` to serve it\n")
    moves, current = store.history(workspace), store.read(workspace)
    if not moves:
        print("no model was champion yet; `lsgmer run` makes one")
    stored = store.bentos(workspace)
    for number, move in enumerate(moves):
        last = all(later.tag != move.tag for later in moves[number + 1 :])
        mark = "*" if current and current.tag == move.tag and last else " "
        verdict = f"forced by {move.forced.by}: {move.forced.reason}" if move.forced else "gate PASS"
        gone = "" if move.tag in stored else "  (its Bento is missing)"
        word = "back to" if move.way == "back" else "promoted"
        print(f"{mark} {move.at}  {word:8}  {move.tag}  {'' if move.way == 'back' else verdict}{gone}".rstrip())


def promote(force: bool, reason: str | None) -> None:
    """Make the packaged model the champion. Raises GateRejected without `force` unless its gate passed."""
    workspace = Workspace(Path.cwd())
    gate = read_gate(workspace)
    if gate is None:
        raise LsgmerError(f"{workspace.root}: no model has been through the gate; run `lsgmer run`")
    if force and not (reason and reason.strip()):
        raise ParamsError("--force needs --reason TEXT: it is recorded with the model")
    if reason and not force:
        raise ParamsError("--reason goes with --force")
    if gate.verdict != "PASS" and not force:
        raise GateRejected(
            f"the gate's verdict is {gate.verdict}: see data/gate/report.md; --force --reason TEXT overrides it"
        )
    forced = Forced(reason=reason.strip(), by=getpass.getuser()) if reason and gate.verdict != "PASS" else None
    if forced:
        _package(workspace, forced)
    tag = packaged_tag(workspace)
    if tag is None:
        raise LsgmerError(f"{workspace.root}: nothing is packaged; run `lsgmer run`")
    champion = store.promote(workspace, tag, forced)
    print(f"champion is now {champion.tag}" + (f", forced: {forced.reason}" if forced else ""))


def _package(workspace: Workspace, forced: Forced) -> None:
    """Package with the gate overridden, in a separate process, which keeps BentoML out of this one."""
    command = [sys.executable, "-m", "lsgmer.stages.package", FORCE_REASON, forced.reason]
    code = subprocess.run(command, cwd=workspace.root, env=dvc.environment(), check=False).returncode
    if code:
        raise PackagingRefused("the model could not be packaged, for the reason above; the champion is unchanged")
