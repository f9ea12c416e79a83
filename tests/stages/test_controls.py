"""The stage records how the linear baseline's penalty was chosen, and the parameters may name one or several."""

from __future__ import annotations

import json
import multiprocessing

import pytest
from pydantic import ValidationError

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SPLITS
from lsgmer.model.linear import load_linear
from lsgmer.stages import controls
from lsgmer.training.params import ControlsParams
from tests.support.builders import COUNTS, random_features, utterances
from tests.support.synthetic import small_params


@pytest.fixture
def workspace(tmp_path):
    made = utterances(COUNTS)
    for seed, name in enumerate(SPLITS):
        part = [utterance for utterance in made if utterance.split == name]
        random_features(tmp_path / "data" / "features" / name, name, part, seed)
    return Workspace(tmp_path)


def run(workspace, *overrides):
    params = small_params("controls.variants=[]", *overrides)
    controls.run(workspace, controls.Needs.of(params))
    notes = json.loads((workspace.data("controls") / "linear" / "notes.json").read_text())
    return notes, load_linear(workspace.data("controls") / "linear")


def test_the_notes_say_which_penalties_were_tried_and_which_won(workspace):
    notes, linear = run(workspace, "controls.linear_c=[0.0001, 0.1]", "train.select=weighted_f1")
    assert [each["c"] for each in notes["candidates"]] == [0.0001, 0.1]
    assert notes["chosen_by"] == "valid weighted_f1"
    assert notes["c"] == max(notes["candidates"], key=lambda each: (each["score"], -each["log_loss"]))["c"]
    alone, same = run(workspace, f"controls.linear_c={notes['c']}")
    assert [each["c"] for each in alone["candidates"]] == [notes["c"]]
    assert (same.coef == linear.coef).all()


def test_the_test_split_decides_nothing(workspace):
    before, _ = run(workspace)
    for file in (workspace.data("features") / "test").iterdir():
        file.write_bytes(b"")
    assert run(workspace)[0] == before


@pytest.mark.parametrize("given", [[], [0.0], -1.0, "much"])
def test_a_penalty_must_be_a_positive_number(given):
    with pytest.raises(ValidationError, match="linear_c"):
        ControlsParams(variants=(), linear_c=given)


def trained(workspace, monkeypatch, apart):
    monkeypatch.setattr(controls, "is_apart", lambda runtime, count: apart)
    params = small_params("controls.variants=[audio, text]", "train.epochs=2", "train.warmup_share=0.0")
    controls.run(workspace, controls.Needs.of(params))
    files = sorted(path for path in workspace.data("controls").rglob("*") if path.is_file())
    return {str(path.relative_to(workspace.root)): path.read_bytes() for path in files}


def test_side_by_side_gives_the_same_bytes(workspace, monkeypatch):
    apart = trained(workspace, monkeypatch, apart=True)
    assert {"data/controls/audio/model.safetensors", "data/controls/text/model.safetensors"} <= set(apart)
    assert not list(workspace.scratch.rglob("*.safetensors")), "nothing is left to resume"
    assert trained(workspace, monkeypatch, apart=False) == apart


def test_a_control_that_fails_in_its_process_says_why():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sender.send((None, "the disk is full"))
    with pytest.raises(LsgmerError, match="the disk is full"):
        controls._states(receiver, "text")
    sender.close()
    with pytest.raises(LsgmerError, match="training with text alone ended"):
        controls._states(receiver, "text")


@pytest.mark.parametrize(
    ("count", "cores", "processes", "apart"), [(2, 2, 1, True), (2, 1, 1, False), (1, 8, 1, False), (2, 8, 2, False)]
)
def test_side_by_side_needs_cores(monkeypatch, count, cores, processes, apart):
    monkeypatch.setattr(controls, "cores", lambda: cores)
    runtime = small_params(f"runtime.processes={processes}", "runtime.device=cpu").runtime
    assert controls.is_apart(runtime, count) == apart
