"""`lsgmer doctor`: can this machine run lsgmer? Each check says what it found, and how to fix what is broken."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.markers import Marker

from lsgmer.core.device import cores, encoding_processes
from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.process import ENVIRONMENT, apply_environment
from lsgmer.core.source import source_state
from lsgmer.core.workers import connected
from lsgmer.params import load_params
from lsgmer.registry import champions
from lsgmer.workspace import dvc, remote
from lsgmer.workspace.prefect_server import API, check_server

Health = Literal["ok", "note", "broken"]
MIN_FREE_GB = 2.0
LOCK = "requirements.lock"
# Results are reproducible only with these libraries at the versions of the lock.
CHECKED = (
    "prefect",
    "fastapi",
    "sqlalchemy",
    "dvc",
    "great-expectations",
    "bentoml",
    "torch",
    "torchaudio",
    "transformers",
    "accelerate",
    "safetensors",
    "scikit-learn",
    "soundfile",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
)
MOONSHINE = ("moonshine-voice", "onnxruntime")  # an optional extra
DASK = ("distributed", "dask")  # another


@dataclass(frozen=True, slots=True)
class Check:
    """One check's result; a `note` is worth knowing but breaks nothing."""

    name: str
    health: Health
    detail: str


def doctor() -> int:
    """Print every finding for the current folder; return ERROR when something is broken, else DONE."""
    apply_environment()
    findings = examine(Workspace(Path.cwd()))
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{finding.health:6}  {finding.name:{width}}  {finding.detail}")
    return ExitCode.ERROR if any(finding.health == "broken" for finding in findings) else ExitCode.DONE


def examine(workspace: Workspace) -> list[Check]:
    """Run every check on `workspace`; a check that itself fails is reported as broken."""
    checks: tuple[Callable[[Workspace], Iterator[Check]], ...] = (
        versions,
        parameters,
        moonshine,
        compute,
        switches,
        prefect_server,
        cluster,
        speech,
        disk,
        data_versions,
        git,
        champion,
    )
    findings: list[Check] = []
    for check in checks:
        try:
            findings += check(workspace)
        except (LsgmerError, OSError, ImportError, subprocess.SubprocessError) as error:
            findings.append(Check(check.__name__, "broken", str(error)))
    return findings


def versions(workspace: Workspace) -> Iterator[Check]:
    """Compare Python and the installed libraries with requirements.lock."""
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield Check("python", "ok" if fits else "broken", f"{platform.python_version()} (3.11 or 3.12)")
    lock = workspace.root / LOCK
    if not lock.is_file():
        yield Check("versions", "note", f"{LOCK} is not here: nothing to compare with")
        return
    pinned = pins(lock.read_text())
    wrong = []
    for name in (*CHECKED, *(name for name in (*MOONSHINE, *DASK) if _installed(name))):
        found, wanted = _installed(name), pinned.get(name)
        if found is None or (wanted and found.partition("+")[0] != wanted):
            wrong.append(f"{name} {found or 'absent'} (lock: {wanted or 'none'})")
    remedy = "; `make test` sets .venv up again from the lock"
    yield Check("versions", "broken" if wrong else "ok", ", ".join(wrong) + remedy if wrong else f"as in {LOCK}")


def parameters(workspace: Workspace) -> Iterator[Check]:
    """Check params.yaml."""
    load_params(workspace.params)
    yield Check("params", "ok", "params.yaml is well-formed")


def moonshine(workspace: Workspace) -> Iterator[Check]:
    """Check that the optional audio encoder is installed if params.yaml asks for it."""
    absent = [name for name in MOONSHINE if _installed(name) is None]
    audio = load_params(workspace.params).features.audio
    used = any(encoder.kind == "moonshine" for encoder in (audio if isinstance(audio, tuple) else (audio,)))
    if not absent:
        yield Check("moonshine", "ok", "installed" + ("" if used else ", not used by params.yaml"))
    else:
        detail = f"{', '.join(absent)} not installed; features.audio of kind moonshine needs them: "
        yield Check("moonshine", "broken" if used else "note", detail + "pip install 'lsgmer[moonshine]'")


def compute(workspace: Workspace) -> Iterator[Check]:
    """Say which device a run would use, and with how many threads."""
    import torch

    params = load_params(workspace.params).runtime
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    device = gpu if gpu and params.device != "cpu" else "CPU"
    if params.device == "cuda" and gpu is None:
        yield Check("device", "broken", "runtime.device is cuda, but torch sees no GPU; set it to auto or cpu")
    else:
        yield Check("device", "ok", f"{device} (runtime.device: {params.device})")
    available = cores()
    detail = f"runtime.threads {params.threads} of {available} cores; results are bit-identical only for the same count"
    yield Check("threads", "ok" if params.threads <= available else "note", detail)
    count = encoding_processes(params.threads)
    detail = f"features are encoded by up to {count} processes x {params.threads} threads on {available} cores"
    yield Check("processes", "ok", detail if device == "CPU" else "features are encoded by one process, on the GPU")


def switches(workspace: Workspace) -> Iterator[Check]:
    """Say whether telemetry and hubs are off."""
    on = [f"{name}={os.environ[name]}" for name, value in ENVIRONMENT.items() if os.environ.get(name) != value]
    detail = f"set otherwise in your environment: {', '.join(on)}" if on else "telemetry and model hubs are off"
    yield Check("offline", "note" if on else "ok", detail)


def prefect_server(workspace: Workspace) -> Iterator[Check]:
    """Check that the Prefect server that the environment names answers; a run starts its own without one."""
    check_server()
    yield Check("prefect server", "ok", os.environ.get(API) or f"a temporary one per run ({API} is not set)")


def cluster(workspace: Workspace) -> Iterator[Check]:
    """Check that the cluster of params.yaml answers, and that its workers have this code and see this folder."""
    params = load_params(workspace.params).runtime
    with connected(params, workspace.scratch) as found:
        if found is None:
            yield Check("cluster", "ok", "runtime.cluster is none: everything runs on this machine")
        else:
            yield Check(
                "cluster",
                "ok",
                f"{params.cluster} answers: {found.workers} workers with this code, libraries and folder, "
                f"{found.slots} items at a time",
            )


def speech(workspace: Workspace) -> Iterator[Check]:
    """Check that the synthesizer's library and voices are there: the sample corpus needs them."""
    import espeakng_loader

    library, voices = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
    there = library.is_file() and voices.is_dir()
    yield Check("espeak", "ok" if there else "broken", str(library) if there else f"{library} or its voices are absent")


def disk(workspace: Workspace) -> Iterator[Check]:
    """Check the free space in the workspace."""
    free = shutil.disk_usage(workspace.root).free / 1e9
    enough = free >= MIN_FREE_GB
    yield Check("disk", "ok" if enough else "broken", f"{free:.1f} GB free (at least {MIN_FREE_GB:g} wanted)")


def data_versions(workspace: Workspace) -> Iterator[Check]:
    """Check that DVC is set up, and whether its remote is there."""
    dvc.check_workspace(workspace.root)
    remote.check_settings(workspace.root)
    found = remote.default_remote(workspace.root)
    if found is None:
        yield Check("dvc remote", "note", "none: data stays in .dvc/cache on this machine")
        return
    if found.package:
        yield Check("dvc remote", "broken", f"{found.name}: {found.url} needs {found.package}: {remote.INSTALL}")
        return
    there = "://" in found.url or (workspace.root / ".dvc" / found.url).is_dir()
    suffix = "" if there else " (created by the first `dvc push`)"
    yield Check("dvc remote", "ok", f"{found.name}: {found.url}{suffix}")


def git(workspace: Workspace) -> Iterator[Check]:
    """Say which commit a run would record."""
    state = source_state(workspace.root)
    if state.commit is None:
        yield Check("git", "note", "no git commit here: models carry a digest of the source only; the audit says so")
    elif state.dirty:
        yield Check("git", "note", f"{state.commit[:12]} with uncommitted changes in the source: the audit says so")
    else:
        yield Check("git", "ok", f"{state.commit[:12]}, source unchanged")


def champion(workspace: Workspace) -> Iterator[Check]:
    """Check that the champion matches its pointer."""
    current = champions.read(workspace)
    if current is None:
        yield Check("champion", "note", "none yet: `lsgmer run` makes one")
        return
    champions.verified_source(workspace, current)
    yield Check("champion", "ok", current.tag)


def pins(lock: str) -> dict[str, str]:
    """Return the version that a requirements file pins for each library on this Python and platform."""
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", lock, re.MULTILINE)
    return {_normal(name): version for name, version, marker in found if not marker or Marker(marker).evaluate()}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
