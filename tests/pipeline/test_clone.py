"""A fresh clone with an S3 remote: nothing is computed again, and every link of the audit is verified."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from lsgmer.registry.audit import LINKS
from tests.support import s3
from tests.support.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_clone_re_runs_nothing_and_its_audit_verifies(golden, tmp_path, monkeypatch):
    for name, value in {**s3.ISOLATED, **s3.CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    with s3.serve(tmp_path, "bucket") as endpoint:
        project = Project(shutil.copytree(golden[0].root, tmp_path / "project", symlinks=True))
        s3.use_remote(project.root, "s3://bucket/lsgmer", endpoint)
        project.commit()  # dvc.lock and .dvc/config with it
        pushed = project.run("dvc", "push", "--run-cache")
        assert pushed.code == 0, pushed.output
        clone = Project(tmp_path / "clone")
        subprocess.run(["git", "clone", "-q", str(project.root), str(clone.root)], check=True, capture_output=True)
        repro = clone.run("dvc", "repro", "--pull", "--allow-missing", "dvc.yaml")
        assert (repro.code, repro.output.count("didn't change, skipping")) == (0, 10), repro.output
        assert "Running stage" not in repro.output
        shutil.copytree(golden[0].root / ".prefect", clone.root / ".prefect")  # spares a quarter of a minute
        done = clone.lsgmer("run", "--pull")
    assert done.code == 0, done.output
    assert re.findall(r"^   (\S+) done in", done.output, re.MULTILINE) == ["incumbent", "package"]  # uncached outputs
    assert clone.locked() == project.locked()
    audit = clone.lsgmer("audit", "data/package", "--json")
    links = {link["name"]: link["status"] for link in json.loads(audit.output)["links"]}
    assert links == dict.fromkeys(LINKS, "verified"), audit.output
