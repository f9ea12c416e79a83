"""A cluster changes where work runs and no byte of it, whoever dies; open networks are refused, none needs no Dask."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lsgmer.commands.doctor import cluster as doctor_cluster
from lsgmer.core.cluster import ClusterParams, tls_files
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.paths import Workspace
from lsgmer.core.shard import difference, fingerprint
from lsgmer.core.workers import connected
from lsgmer.manifests.utterance import Utterance
from lsgmer.params import load_params
from lsgmer.validation.facts import audio_facts
from tests.support import dask
from tests.support.imports import ROOT
from tests.support.project import wait_for

pytest.importorskip("distributed", reason="the extra lsgmer[cluster] is not installed")
CLIPS = 160


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("local:0", "must be none, local:N"),
        ("local", "must be none, local:N"),
        ("tcp://somewhere", "must be none, local:N"),
        ("http://127.0.0.1:8786", "must be none, local:N"),
        ("tcp://10.0.0.7:8786", r"is on another machine and not encrypted.*cluster_trusted: true"),
        ("tcp://0.0.0.0:8786", r"is on another machine and not encrypted"),
    ],
)
def test_what_is_no_cluster_or_an_open_one_is_refused(value, message, monkeypatch):
    monkeypatch.delenv("LSGMER_CLUSTER_TLS", raising=False)
    with pytest.raises(ParamsError, match=message):
        load_params(ROOT / "params.yaml", [f"runtime.cluster={value}"])


def test_trust_and_tls_open_the_way(monkeypatch, tmp_path):
    monkeypatch.delenv("LSGMER_CLUSTER_TLS", raising=False)
    trusted = load_params(ROOT / "params.yaml", ["runtime.cluster=tcp://10.0.0.7:8786", "runtime.cluster_trusted=true"])
    assert trusted.runtime.address == "tcp://10.0.0.7:8786"
    assert tls_files("tcp://10.0.0.7:8786") is None
    with pytest.raises(LsgmerError, match=r"name the folder with ca\.pem, cert\.pem, key\.pem in LSGMER_CLUSTER_TLS"):
        tls_files("tls://10.0.0.7:8786")
    monkeypatch.setenv("LSGMER_CLUSTER_TLS", str(tmp_path))
    assert load_params(ROOT / "params.yaml", ["runtime.cluster=tcp://10.0.0.7:8786"]).runtime.address.startswith("tls:")
    with pytest.raises(LsgmerError, match=r"lacks ca\.pem, cert\.pem, key\.pem"):
        tls_files()


def test_where_work_runs_is_in_no_card_and_dvc_does_not_watch_it():
    params = load_params(ROOT / "params.yaml", ["runtime.cluster=local:2"])
    assert {key for key in params.sections("runtime")["runtime"] if "cluster" in key} == set()
    assert params.sections("runtime") == load_params(ROOT / "params.yaml").sections("runtime")


def test_without_a_cluster_dask_is_not_imported():
    code = (
        "import sys; from pathlib import Path; import lsgmer.stages.validate, lsgmer.experiments.grid\n"
        "from lsgmer.core.workers import connected; from lsgmer.core.cluster import ClusterParams\n"
        "with connected(ClusterParams(), Path('nowhere')) as found: assert found is None\n"
        "print(sorted(name for name in sys.modules if name in ('dask', 'distributed')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_code_or_folder_is_refused(tmp_path):
    (tmp_path / "beacon").touch()
    assert difference(str(tmp_path / "beacon"), fingerprint()) is None
    assert "numpy" in str(difference(str(tmp_path / "beacon"), {**fingerprint(), "numpy": "1.0"}))
    assert "code" in str(difference(str(tmp_path / "beacon"), {**fingerprint(), "code": "0" * 12}))
    assert "does not see" in str(difference(str(tmp_path / "elsewhere" / "beacon"), fingerprint()))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Many cuts of a few clips, one of them broken; and their facts without a cluster."""
    root = tmp_path_factory.mktemp("corpus")
    for index in range(3):
        samples = np.random.default_rng(index).normal(scale=0.1, size=16000 * 8)
        soundfile.write(root / f"{index}.flac", samples, 16000)
    (root / "broken.flac").write_bytes(b"not audio")
    files = [f"{index % 3}.flac" for index in range(CLIPS)] + ["broken.flac", "gone.flac"]
    made = [
        Utterance(f"u{number}", "t", "s", "sad", emotion="sad", split="train", audio=file)
        for number, file in enumerate(files)
    ]
    return root, made, audio_facts(made, root, 1)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    with dask.cluster(2, tmp_path_factory.mktemp("dask")) as started:
        yield started


def test_two_workers_find_the_same_facts_and_one_that_is_killed_loses_none(by_hand, corpus, tmp_path, capfd):
    address, workers = by_hand
    root, made, alone = corpus
    params = ClusterParams(cluster=address)
    with connected(params, tmp_path) as found:
        assert wait_for(lambda: found.workers == 2, 30)
        assert found.slots == 2
        together = audio_facts(made, root, 1, found)
        assert len(found.shares) == 2  # both took part
    assert json.dumps({name: asdict(fact) for name, fact in together.items()}) == json.dumps(
        {name: asdict(fact) for name, fact in alone.items()}
    )

    killed_at = []

    def kill():
        if wait_for(lambda: bool(list(tmp_path.glob("cluster-*/facts-*"))), 60):
            workers[0].send_signal(signal.SIGKILL)
            killed_at.append(time.monotonic())

    killer = threading.Thread(target=kill)
    with connected(params, tmp_path) as found:
        killer.start()
        assert audio_facts(made, root, 1, found) == alone
        assert killed_at, "it was over before a worker was killed"
        assert workers[0].wait(10) == -signal.SIGKILL
        assert wait_for(lambda: found.workers == 1, 10)
    killer.join()
    assert not list(tmp_path.glob("cluster-*"))
    assert f"progress audio facts {len(made)}/{len(made)}" in capfd.readouterr().err


def test_the_doctor_says_whether_the_cluster_can_be_reached(by_hand, tmp_path):
    content = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(content.replace("cluster: none", f"cluster: {by_hand[0]}"))
    (finding,) = doctor_cluster(Workspace(tmp_path))
    assert finding.health == "ok"
    assert f"{by_hand[0]} answers: 1 workers with this code" in finding.detail
    gone = f"tcp://127.0.0.1:{dask.free_port()}"
    (tmp_path / "params.yaml").write_text(content.replace("cluster: none", f"cluster: {gone}"))
    with pytest.raises(LsgmerError, match=f"no scheduler answers at {gone}"):
        list(doctor_cluster(Workspace(tmp_path)))


def write_name(session: Path, name: str) -> None:
    if name == "bad":
        raise LsgmerError("bad is no name")
    time.sleep(0.05)
    (session / name).touch()


def test_an_item_that_fails_is_told_apart_from_the_others(by_hand, tmp_path):
    with connected(ClusterParams(cluster=by_hand[0]), tmp_path) as found:
        outcomes = dict(found.map(write_name, ["a", "bad", "c"]))
        assert sorted(path.name for path in found.session.iterdir()) == ["a", "beacon", "c"]
    assert outcomes[0] is None
    assert outcomes[2] is None
    assert str(outcomes[1]).endswith("bad is no name")
