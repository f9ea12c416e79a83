"""Session fixtures that more than one folder of tests shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from lsgmer.core.paths import Workspace
    from lsgmer.registry.model_card import PackageRecord
    from tests.support.server import Served

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two test processes on two cores, and equal bits


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, PackageRecord]:
    """A workspace with a tiny random model after its package stage, and package.json."""
    from tests.support import server  # torch

    workspace = server.make_workspace(tmp_path_factory.mktemp("serving") / "workspace")
    done = server.run_package(workspace)
    assert done.returncode == 0, done.stderr
    return workspace, server.read_record(workspace)


@pytest.fixture(scope="session")
def served(packaged: tuple[Workspace, PackageRecord], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The packaged Bento behind a real `bentoml serve`, for HTTP and for the browser."""
    from tests.support import server

    transcribes = "moonshine" if find_spec("moonshine_voice") and find_spec("onnxruntime") else "off"
    folder = tmp_path_factory.mktemp("server")
    with server.serve(*packaged, folder, LSGMER_SERVICE_TRANSCRIBE=transcribes) as served:
        yield served


# What must share a process: folders whose tests share a server or the golden run; every other file stands alone.
FOLDERS = {
    "pipeline": "pipeline",
    "serving": "serving",
    "browser": "serving",
    "client": "serving",
    "flows": "flows",
    "encoders": "encoders",
}
FILES = {"test_package": "serving", "test_analyze": "serving"}
FIRST = ("pipeline", "test_grid", "flows", "serving")  # the longest, so that two processes end at about the same time


def group_of(path: str) -> str:
    """Return which group the test file `path` belongs to."""
    file = Path(path)
    return FILES.get(file.stem) or FOLDERS.get(file.parent.name, file.stem)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest groups."""
    groups = [group_of(str(item.path)) for item in items]
    rank = {name: FIRST.index(name) if name in FIRST else len(FIRST) for name in groups}
    items.sort(key=lambda item: (rank[group_of(str(item.path))], group_of(str(item.path))))


class ByGroup(LoadScopeScheduling):
    """Sends each group of tests to one process. (xdist's own groups rename tests, which pytest 9 does not allow.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByGroup:
    """Schedule by group, in the collection's order."""
    config.option.loadscopereorder = False
    return ByGroup(config, log)
