"""A real Prefect server for the session, and workspaces of the fake pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from flows.pipeline import pipeline
from tests.flows.fake_pipeline import make_workspace


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A Prefect server for the session: this process's flows use it, and so may its children."""
    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def first_run(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """The fake pipeline, run once from nothing: its workspace and end state. Copy it, never change it."""
    root = make_workspace(tmp_path_factory.mktemp("done") / "workspace")
    return root, pipeline(str(root), return_state=True)


@pytest.fixture
def done(first_run: tuple[Path, State], tmp_path: Path) -> Path:
    """A workspace in which everything is up to date."""
    return Path(shutil.copytree(first_run[0], tmp_path / "workspace"))


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Path]:
    """Makes a workspace in which nothing has run."""
    return lambda **knobs: make_workspace(tmp_path / "fresh", **knobs)
