"""The golden run: the whole pipeline on a small corpus, once per session."""

from __future__ import annotations

import pytest

from tests.support.project import Done, Project, make_project


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> tuple[Project, Done]:
    """The golden run: about 60 utterances through `lsgmer run`, from nothing to a champion."""
    project = make_project(tmp_path_factory.mktemp("golden") / "project")
    done = project.lsgmer("run")
    assert done.code == 0, done.output[-4000:]
    return project, done
