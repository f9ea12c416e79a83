"""A tiny pipeline with the real shape, in a temporary folder: real DVC, real Prefect, stages that take no time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DVC_YAML = """\
stages:
  make:
    foreach: ${corpus.synthesize}
    do:
      cmd: python fake.py make
      deps: [fake.py]
      outs: [data/make]
  train:
    cmd: python fake.py train
    params: [train]
    deps: [data/make, knobs.json]
    outs: [data/train]
  evaluate:
    cmd: python fake.py evaluate
    deps: [data/train]
    outs: [data/evaluate]
  gate:
    cmd: python fake.py gate
    params: [gate]
    deps: [data/evaluate, verdict.txt]
    outs: [data/gate]
  package:
    cmd: python fake.py package
    deps: [data/gate]
    outs:
      - data/package: {cache: false}
"""


def make_workspace(folder: Path, verdict: str = "PASS", **knobs: float | str) -> Path:
    """Set up the fake pipeline in `folder`; knobs: sleep_s of train, exit_code and message of train."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    shutil.copy(PROJECT / "params.yaml", folder / "params.yaml")
    shutil.copy(PROJECT / "prefect.toml", folder / "prefect.toml")
    shutil.copy(Path(__file__).with_name("fake_stage.py"), folder / "fake.py")
    (folder / "verdict.txt").write_text(verdict)
    (folder / "knobs.json").write_text(json.dumps(knobs))
    (folder / ".dvcignore").write_text(".lsgmer\n.prefect\n.bentoml\nworkspaces\nruns\n__pycache__\n")
    (folder / ".dvc").mkdir(exist_ok=True)  # what `dvc init --no-scm` makes, without its second and a half
    (folder / ".dvc/config").write_text("[core]\n    no_scm = True\n")
    return folder


def set_knobs(folder: Path, **knobs: float | str) -> None:
    """Change what train does, which makes it out of date."""
    (folder / "knobs.json").write_text(json.dumps(knobs))


def lsgmer(folder: Path, *arguments: str, server: str = "") -> subprocess.Popen[str]:
    """Start `lsgmer ARGUMENTS` in `folder`; with `server`, on that Prefect server (much faster)."""
    environment = {**os.environ, **({"PREFECT_API_URL": server} if server else {})}
    return subprocess.Popen(
        [sys.executable, "-m", "lsgmer.cli", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 90) -> tuple[int, str]:
    """Wait for `process`; return its exit code and its whole output."""
    output, _ = process.communicate(timeout=timeout_s)
    return process.returncode, output


def wait_for(path: Path, process: subprocess.Popen[str] | None = None, timeout_s: float = 90) -> str:
    """Wait until `path` is there and not empty; return its text. Fails at once when `process` ends before."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text():
            return path.read_text()
        if process and process.poll() is not None:
            break
        time.sleep(0.05)
    if process:
        process.kill()
    raise AssertionError(f"{path} did not appear: {finish(process)[1] if process else timeout_s}")
