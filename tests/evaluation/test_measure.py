"""The stages evaluate and incumbent on a small world: real recordings, features, trained models and a Bento."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import Label, Labels
from lsgmer.evaluation import measure
from lsgmer.evaluation.challenger import shares_features, unheard
from lsgmer.evaluation.records import GateDecision, Metrics
from lsgmer.features.store import FeatureSplit
from lsgmer.metrics import balanced_accuracy
from lsgmer.model.train_card import load_card, speaker_digest
from lsgmer.registry import champions
from lsgmer.stages import gate, incumbent
from lsgmer.stages.evaluate import run
from tests.support.builders import World, bento_of, build_world, extract, random_model, resave, train, train_card
from tests.support.synthetic import LABELS

GATE_OFF = tuple(
    f"gate.{name}=null"
    for name in ("min_over_chance", "min_over_linear", "min_class_recall", "max_ece", "max_subgroup_gap")
)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> World:
    counts = {"train": 36, "valid": 12, "test": 48}
    overrides = (
        "train.epochs=24",
        "train.patience=24",
        "train.learning_rate=0.02",
        "train.modality_dropout=0.0",
        *GATE_OFF,
    )
    made = train(extract(build_world(tmp_path_factory.mktemp("world"), counts, *overrides)))
    incumbent.run(made.workspace, made.params)
    run(made.workspace, made.params)
    return made


@pytest.fixture
def world(built, tmp_path) -> World:
    """A copy of the built world that a test may change."""
    shutil.copytree(built.workspace.root, tmp_path / "copy")
    return replace(built, workspace=Workspace(tmp_path / "copy"))


def measured(world: World) -> Metrics:
    return Metrics.model_validate_json((world.workspace.data("evaluate") / "metrics.json").read_text())


def judged(world: World) -> GateDecision:
    gate.run(world.workspace, world.params)
    return GateDecision.model_validate_json((world.workspace.data("gate") / "gate.json").read_text())


def crown(world: World, tag: str = "lsgmer:champion") -> Path:
    """Make the trained model the champion, and train's folder its challenger to be."""
    source = bento_of(world.workspace, tag, world.workspace.data("train"))
    champions.promote(world.workspace, tag)
    return source


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_model_is_measured_on_every_utterance(built):
    found = measured(built)
    assert set(found.models) == {"fused", "audio", "text", "linear", "majority"}
    assert {model.n for model in found.models.values()} == {48}
    assert found.models["fused"].balanced_accuracy.value > 0.8, "the buzz and the words say it"
    assert found.models["majority"].balanced_accuracy.value == pytest.approx(1 / 3)
    assert found.chance == pytest.approx(1 / 3)
    assert found.n_speakers == 4
    assert set(found.differences) == {"fused-audio", "fused-text", "fused-linear"}
    assert found.weights_sha256 == load_card(built.workspace.data("train")).weights_sha256
    assert found.models["fused"].mean_consistency is not None
    assert found.models["linear"].mean_consistency is None
    assert found.incumbent is None


def test_groups_hold_what_they_should(built):
    found, test = measured(built), built.features("test")
    assert {name: group.n for name, group in found.groups["sex"].items()} == {"female": 24, "male": 24}
    assert set(found.groups["speaker"]) == {speaker_digest(name) for name in test.speakers}
    assert set(found.groups["tag"]) == {"long", "odd"}
    assert found.groups["tag"]["long"].n == sum("long" in tags for tags in test.tags)
    assert set(found.subgroup_models["odd"]) == set(found.models)
    assert found.subgroup_models["odd"]["fused"].low is not None


def test_a_model_that_cannot_read_an_utterance_guesses_and_says_so(built):
    notes = measured(built).notes
    missing = int((~built.features("test").has("text")).sum())
    assert f"text: {missing} of 48 utterances have nothing it reads; it guesses there" in notes
    assert not any(note.startswith("fused") for note in notes)


def test_predictions_are_the_metrics_rows(built):
    rows = parquet.read_table(built.workspace.data("evaluate") / "predictions.parquet").to_pydict()
    test, found = built.features("test"), measured(built)
    assert tuple(rows["id"]) == test.ids
    assert set(rows["split"]) == {"test"}
    for name, model in found.models.items():
        guess = np.array([LABELS.index(emotion) for emotion in rows[f"{name}_emotion"]])
        assert balanced_accuracy(test.labels, guess) == pytest.approx(model.balanced_accuracy.value)
        assert np.array(rows[f"{name}_probabilities"]).sum(1) == pytest.approx(np.ones(48))
    assert np.array(rows["attribution"]).sum(1) == pytest.approx(np.ones(48))
    assert np.mean(rows["consistency"]) == pytest.approx(found.models["fused"].mean_consistency, abs=1e-6)


def test_the_report_shows_it_and_its_plots_are_there(built):
    out = built.workspace.data("evaluate")
    report = (out / "report.md").read_text()
    for word in ("# Evaluation", "UA by tag and model", "By sex", "test-2", "Trust scores", "No champion yet"):
        assert word in report
    for line in report.splitlines():
        if line.startswith("!["):
            plot = out / line.split("(")[1].rstrip(")")
            assert plot.read_bytes().startswith(b"\x89PNG")
            assert b"matplotlib" not in plot.read_bytes().lower()
    assert len(list((out / "plots").iterdir())) == 5


def test_the_same_inputs_give_the_same_bytes_anywhere(built, world):
    before = contents(built.workspace.data("evaluate"))
    shutil.rmtree(world.workspace.data("evaluate"))
    run(world.workspace, world.params)
    assert contents(world.workspace.data("evaluate")) == before


def test_missing_controls_are_left_out(world):
    shutil.rmtree(world.workspace.data("controls") / "audio")
    run(world.workspace, world.params)
    found = measured(world)
    assert "audio" not in found.models
    assert set(found.differences) == {"fused-text", "fused-linear"}


def test_small_groups_are_left_out_with_a_note(world):
    params = world.params.model_copy(update={"evaluate": world.params.evaluate.model_copy(update={"min_group": 20})})
    run(world.workspace, params)
    found = measured(world)
    assert found.groups["speaker"] == {}
    assert "speaker: 4 groups of fewer than 20 utterances left out (48 in all)" in found.notes
    assert len(found.groups["sex"]) == 2


def test_things_that_do_not_belong_together_are_refused(world):
    data = world.workspace.data("features")
    shutil.rmtree(data / "test")
    shutil.copytree(data / "valid", data / "test")
    with pytest.raises(LsgmerError, match="holds the valid split"):
        run(world.workspace, world.params)
    other = extract(replace(world, manifest_sha256="0" * 64))
    with pytest.raises(LsgmerError, match="different manifests"):
        run(other.workspace, world.params)


def test_no_champion_no_incumbent(built):
    stated = json.loads((built.workspace.data("incumbent") / "incumbent.json").read_text())
    assert stated["champion"] is None
    assert stated["reason"]
    assert len(contents(built.workspace.data("incumbent"))) == 1
    assert gate.champion(measured(built), built.params.gate).verdict == "PASS"


def test_a_champion_against_itself_differs_by_nothing(world):
    crown(world)
    incumbent.run(world.workspace, world.params)
    assert set(contents(world.workspace.data("incumbent"))) == {
        "incumbent.json", "model.safetensors", "card.json", "profile.json",
    }  # fmt: skip
    run(world.workspace, world.params)
    against = measured(world).incumbent
    assert against.champion == "lsgmer:champion"
    assert (against.n, against.n_speakers) == (48, 4)
    assert against.difference.model_dump() == {"value": 0, "low": 0, "high": 0}
    assert judged(world).verdict == "PASS"


def test_test_speakers_that_training_knew_are_told(built):
    test = built.features("test")
    assert measure.heard_before(test, train_card()) == []
    first = sum(name == test.speakers[0] for name in test.speakers)
    known = train_card(seen_speakers=(speaker_digest(test.speakers[0]),))
    (note,) = measure.heard_before(test, known)
    assert note == f"NOT SPEAKER-INDEPENDENT: {first} of 48 test utterances are of speakers that training knew"
    assert not any("SPEAKER-INDEPENDENT" in said for said in measured(built).notes)


def test_a_challenger_trained_on_shuffled_labels_is_refused_by_the_champion_rule_alone(world):
    crown(world)
    train(world, shuffled=True)
    incumbent.run(world.workspace, world.params)
    run(world.workspace, world.params)
    decision = judged(world)
    assert decision.verdict == "REJECT"
    assert [rule.name for rule in decision.rules if rule.verdict != "PASS"] == ["champion"]
    assert champions.read(world.workspace).tag == "lsgmer:champion"


def test_speakers_that_the_champion_heard_do_not_count(world):
    heard = sorted(speaker_digest(name) for name in ("test-0", "test-1"))
    resave(world.workspace.data("train"), world.workspace.root / "other", seen_speakers=tuple(heard))
    bento_of(world.workspace, "lsgmer:heard", world.workspace.root / "other")
    champions.promote(world.workspace, "lsgmer:heard")
    incumbent.run(world.workspace, world.params)
    run(world.workspace, world.params)
    against = measured(world).incumbent
    assert (against.n, against.n_speakers) == (24, 2)


def test_nobody_unheard_is_a_hold(built):
    test = built.features("test")
    everyone = tuple(speaker_digest(name) for name in test.speakers)
    assert unheard(test, train_card(seen_speakers=everyone), train_card()) == []
    assert len(unheard(test, train_card(), train_card())) == 48


def test_a_champion_with_other_encoders_reads_the_recordings(world):
    """Its encoders' versions differ, so the store is not used; the answers are the same, since the code is."""
    card = load_card(world.workspace.data("train"))
    aged = {name: spec.model_copy(update={"versions": {"torch": "1.0"}}) for name, spec in card.encoders.items()}
    folder = world.workspace.root / "aged"
    resave(world.workspace.data("train"), folder, encoders=aged)
    shutil.copytree(world.workspace.root / "encoders" / "text", folder / "encoders" / "text")
    bento_of(world.workspace, "lsgmer:aged", folder)
    champions.promote(world.workspace, "lsgmer:aged")
    incumbent.run(world.workspace, world.params)
    assert (world.workspace.data("incumbent") / "encoders" / "text" / "config.json").is_file()
    assert not shares_features(load_card(folder), world.features("test"))
    run(world.workspace, world.params)
    against = measured(world).incumbent
    assert against.difference.model_dump() == {"value": 0, "low": 0, "high": 0}
    assert against.n == 48


def test_a_champion_whose_encoder_is_gone_is_a_hold(world):
    card = load_card(world.workspace.data("train"))
    gone = {**card.encoders, "text": card.encoders["text"].model_copy(update={"source": "encoders/other"})}
    resave(world.workspace.data("train"), world.workspace.root / "gone", encoders=gone)
    bento_of(world.workspace, "lsgmer:gone", world.workspace.root / "gone")
    champions.promote(world.workspace, "lsgmer:gone")
    incumbent.run(world.workspace, world.params)
    run(world.workspace, world.params)
    assert measured(world).incumbent.difference is None
    decision = judged(world)
    assert decision.verdict == "HOLD"
    assert "encoders cannot be used here" in next(rule.reason for rule in decision.rules if rule.name == "champion")


def test_a_champion_with_other_labels_is_a_hold(world):
    other = Labels(items=(*LABELS.items, Label(name="sad", description="sad")))
    features = replace(world.features("test"), label_set=other)
    random_model(world.workspace.root / "four", features, world.params)
    bento_of(world.workspace, "lsgmer:four", world.workspace.root / "four")
    champions.promote(world.workspace, "lsgmer:four")
    incumbent.run(world.workspace, world.params)
    run(world.workspace, world.params)
    found = measured(world).incumbent
    assert found.difference is None
    assert "labels" in found.reason
    assert judged(world).verdict == "HOLD"


@pytest.mark.parametrize("damage", ["weights", "bento"])
def test_a_champion_that_is_not_what_the_pointer_says_stops_the_stage(world, damage):
    source = crown(world)
    weights = source / "model" / "model.safetensors"
    if damage == "weights":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
    else:
        shutil.rmtree(source)
    with pytest.raises(LsgmerError, match=r"lsgmer champions"):
        incumbent.run(world.workspace, world.params)


def test_a_second_run_leaves_nothing_of_the_first(world):
    crown(world)
    incumbent.run(world.workspace, world.params)
    world.workspace.champion.unlink()
    incumbent.run(world.workspace, world.params)
    assert set(contents(world.workspace.data("incumbent"))) == {"incumbent.json"}


def test_test_features_are_opened_nowhere_else(monkeypatch, world):
    """The other stages of this family run without the test features being there at all."""
    crown(world)
    shutil.rmtree(world.workspace.data("features") / "test")
    incumbent.run(world.workspace, world.params)
    gate.run(world.workspace, world.params)
    monkeypatch.setattr(FeatureSplit, "load", pytest.fail)
    incumbent.run(world.workspace, world.params)
