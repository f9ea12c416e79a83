"""Session fixtures that more than one folder of tests shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lsgmer.paths import Workspace
    from lsgmer.types import PackageRecord
    from tests.serving.server import Served


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, PackageRecord]:
    """A workspace with a tiny random model after its package stage, and package.json."""
    from tests.serving import server  # torch

    workspace = server.make_workspace(tmp_path_factory.mktemp("serving") / "workspace")
    done = server.run_package(workspace)
    assert done.returncode == 0, done.stderr
    return workspace, server.read_record(workspace)


@pytest.fixture(scope="session")
def served(packaged: tuple[Workspace, PackageRecord], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The packaged Bento behind a real `bentoml serve`, for HTTP and for the browser."""
    from tests.serving import server

    with server.serve(*packaged, tmp_path_factory.mktemp("server")) as served:
        yield served


# What must share a process: folders whose tests share a server or the golden run; every other file stands alone.
FOLDERS = ("pipeline", "serving", "browser", "flows", "encoders")
SHARED = {"browser": "serving"}
FIRST = ("pipeline", "flows", "serving")  # the longest, so that two processes end at about the same time


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its group, and start with the longest groups."""

    def group(item: pytest.Item) -> str:
        folder = item.path.parent.name
        return SHARED.get(folder, folder) if folder in FOLDERS else item.path.stem

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: (FIRST.index(group(item)) if group(item) in FIRST else len(FIRST), group(item)))
