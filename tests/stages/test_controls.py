"""The stage records how the linear baseline's penalty was chosen, and the parameters may name one or several."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

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
