"""Data and stage outputs on a real S3 server: push, pull, run-cache, what `pull` spares, and what errors say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

import flows.pipeline
from flows.pipeline import pipeline
from flows.pull import fetch_absent
from lsgmer.core.errors import LsgmerError
from lsgmer.workspace import dvc, remote
from tests.flows.fake_pipeline import make_workspace
from tests.support import s3

URL = "s3://bucket/lsgmer"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3.serve(tmp_path_factory.mktemp("s3"), "bucket") as url:
        yield url


@pytest.fixture(scope="module")
def pushed(endpoint: str, first_run: tuple[Path, State], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake pipeline, up to date, with tracked data; all of it is in the S3 remote."""
    root = Path(shutil.copytree(first_run[0], tmp_path_factory.mktemp("pushed") / "workspace"))
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch)
        (root / "data/raw/calls").mkdir(parents=True)
        (root / "data/raw/calls/a.txt").write_text("tracked")
        dvc.ask(root, "add", "--quiet", "data/raw/calls")
        s3.use_remote(root, URL, endpoint)
        dvc.ask(root, "push", "--run-cache")
    return root


def isolate(patch: pytest.MonkeyPatch) -> None:
    for name, value in {**s3.ISOLATED, **s3.CREDENTIALS}.items():
        patch.setenv(name, value)


@pytest.fixture
def clone(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What git would hold of it: sources, dvc.lock, .dvc files and .dvc/config, no data and no cache."""
    isolate(monkeypatch)
    root = make_workspace(tmp_path / "clone")
    (root / "data/raw").mkdir(parents=True)
    for name in ("dvc.lock", ".dvc/config", "data/raw/calls.dvc"):
        shutil.copyfile(pushed / name, root / name)
    return root


def files_with(text: str, *roots: Path) -> list[str]:
    files = [path for root in roots for path in (root.rglob("*") if root.is_dir() else [root])]
    return [str(path) for path in files if path.is_file() and text.encode() in path.read_bytes()]


def test_a_fresh_clone_re_runs_nothing(clone: Path) -> None:
    output = dvc.ask(clone, "repro", "--pull", "--allow-missing")
    assert output.count("didn't change, skipping") == 5
    assert "Running stage" not in output
    assert not (clone / "train.pid").exists()


@pytest.mark.slow
def test_without_a_lock_the_run_cache_spares_all_that_is_cached(clone: Path) -> None:
    (clone / "dvc.lock").unlink()
    output = dvc.ask(clone, "repro", "--pull", "dvc.yaml")
    assert output.count("is cached - skipping run") == 4
    assert re.findall("Running stage '(.*)'", output) == ["package"]  # which leaves more than DVC keeps: the Bento
    assert not (clone / "train.pid").exists()


def test_a_run_with_pull_makes_only_what_the_remote_does_not_keep(clone: Path, pushed: Path) -> None:
    state = pipeline(str(clone), pull=True, return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Completed"), state.message
    assert not (clone / "train.pid").exists()  # train did not run
    assert (clone / "data/raw/calls/a.txt").read_text() == "tracked"
    for name in ("data/train/model.txt", "data/package/package.json"):
        assert (clone / name).read_bytes() == (pushed / name).read_bytes()
    database = Path(str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition("///")[2])
    assert files_with("endpointurl", clone)
    assert not files_with(s3.SECRET, clone, *database.parent.glob(f"{database.name}*"))
    assert not files_with(s3.ACCESS, clone, *database.parent.glob(f"{database.name}*"))


def test_no_remote_is_asked_when_nothing_is_absent(done: Path, pushed: Path) -> None:
    shutil.copytree(pushed / "data/raw", done / "data/raw")
    s3.use_remote(done, URL, "http://127.0.0.1:9")
    state = pipeline(str(done), return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Unchanged"), state.message


def no_credentials(root: Path, endpoint: str, patch: pytest.MonkeyPatch) -> None:
    for name in s3.CREDENTIALS:
        patch.delenv(name)


def no_profile(root: Path, endpoint: str, patch: pytest.MonkeyPatch) -> None:
    no_credentials(root, endpoint, patch)
    patch.setenv("AWS_PROFILE", "zaphod")


def refused(root: Path, endpoint: str, patch: pytest.MonkeyPatch) -> None:
    httpx.post(f"{endpoint}/moto-api/reset-auth", content="0", trust_env=False).raise_for_status()


def not_pushed(root: Path, endpoint: str, patch: pytest.MonkeyPatch) -> None:
    s3.use_remote(root, "s3://bucketless/lsgmer", endpoint)  # DVC says the same of an absent bucket and an absent file


def unreachable(root: Path, endpoint: str, patch: pytest.MonkeyPatch) -> None:
    s3.use_remote(root, URL, "http://127.0.0.1:9")


def secret_in_git(root: Path, endpoint: str, patch: pytest.MonkeyPatch) -> None:
    with (root / ".dvc/config").open("a") as file:
        file.write(f"    secret_access_key = {s3.SECRET}\n")


FAULTS: dict[Callable[[Path, str, pytest.MonkeyPatch], None], str] = {
    no_credentials: "no credentials for the remote: set AWS_ACCESS_KEY_ID",
    no_profile: "AWS_PROFILE names the profile zaphod",
    refused: "the remote refused access (",
    not_pushed: "the remote does not have this data: run `dvc push`",
    unreachable: "the remote cannot be reached",
    secret_in_git: "remote store: secret_access_key: no credentials in this file",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_run_that_cannot_pull_says_why_at_once_and_shows_no_secret(
    clone: Path,
    endpoint: str,
    fault: Callable[[Path, str, pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fault(clone, endpoint, monkeypatch)
    monkeypatch.setattr(flows.pipeline, "fetch_absent", fetch_absent.with_options(retries=1, retry_delay_seconds=0))
    try:
        state = pipeline(str(clone), return_state=True)
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content="inf", trust_env=False).raise_for_status()
    assert state.is_failed()
    error = state.result(raise_on_failure=False)
    assert isinstance(error, LsgmerError)
    assert FAULTS[fault] in str(error)
    with get_client(sync_client=True) as client:
        (task,) = [t for t in client.read_task_runs(limit=1)]
        told = [log.message for log in client.read_logs()]
    assert task.run_count == (2 if fault is unreachable else 1)
    output = capfd.readouterr()
    for secret in (s3.SECRET, s3.ACCESS):
        assert secret not in "\n".join([str(error), output.out, output.err, *told])


def test_a_lost_connection_comes_before_what_is_missing_and_the_rest_is_not_explained() -> None:
    missing = (
        "WARNING: Some of the cache files do not exist neither locally nor on remote. Missing cache files:\nmd5: 1"
    )
    part = "ERROR: failed to transfer '9991' - [Errno 2] No such file or directory: '/store/files/md5/99/91'"
    lost = "ERROR: failed to connect to s3 (bucket/files/md5) - Could not connect to the endpoint URL"
    for output, outside in ((missing, False), (part, False), (f"{missing}\n{lost}", True)):
        problem = remote.explain(output)
        assert problem is not None
        assert (problem.outside, "run `dvc push`" in problem.text) == (outside, not outside)
    assert remote.explain("ERROR: 'dvc.yaml' is invalid") is None


def test_credentials_are_taken_out_of_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch)
    told = remote.redact(f"https://ford:prefect@host/x with {s3.ACCESS} and {s3.SECRET}")
    assert told == "https://[credentials]@host/x with [AWS_ACCESS_KEY_ID] and [AWS_SECRET_ACCESS_KEY]"
