"""Layers that learn are trained, saved, resumed and served like the rest of the model; context is part of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MODALITIES
from lsgmer.encoders.context import Earlier
from lsgmer.encoders.learning import start_learning
from lsgmer.evaluation.measure import mix_weights
from lsgmer.features.store import FeatureSplit
from lsgmer.inference.outputs import predict_split
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.model import checkpoint
from lsgmer.model.ensemble import Ensemble
from lsgmer.model.linear import pooled
from lsgmer.stages import features
from lsgmer.training.fit import Fitted, fit
from lsgmer.training.loader import Feeder, divide
from tests.support.builders import World, build_world, write_manifest
from tests.support.synthetic import learnable, small_params
from tests.support.tiny import save_speech

COUNTS = {"train": 24, "valid": 12, "test": 20}
SETTINGS = (
    "features.text.context=2",
    "features.text.max_tokens=32",
    "train.encoder_learning_rate=0.01",
    "train.epochs=2",
    "model.label_start=text",
)


def make_world(root: Path, *overrides: str) -> World:
    """A world of dialogues, its features extracted for the layers that learn."""
    world = build_world(root, COUNTS, *SETTINGS, *overrides)
    made = tuple(replace(u, dialogue=f"d{i // 6}", turn=i % 6) for i, u in enumerate(world.utterances))
    world = replace(world, utterances=made, manifest_sha256=write_manifest(world.workspace, world.params, made))
    features.run(world.workspace, features.Needs.of(world.params))
    return world


@pytest.fixture(scope="module", params=["all", "last_1", "lora"])
def world(request, tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp(request.param), f"train.finetune={{text: {request.param}}}")


def trained(world: World, scratch: Path, on_epoch=lambda row: None, *overrides: str) -> Fitted:
    root = world.workspace.root
    return fit(world.features("train"), world.features("valid"), world.params, MODALITIES, scratch, on_epoch, root)


def inputs(world: World) -> list[Input]:
    """The test utterances as a caller would give them, each with the two before it."""
    made = []
    for u in world.part("test"):
        earlier = [o for o in world.part("test") if o.dialogue == u.dialogue and o.turn < u.turn and o.text][-2:]
        before = tuple(Earlier(str(o.text), o.speaker == u.speaker) for o in earlier)
        made.append(Input(world.wave(u) if u.audio else None, u.text, before))
    return made


def weights(fitted: Fitted) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in fitted.model.state_dict().items()}


def test_the_layers_learn_and_a_killed_run_resumes_to_the_same_bits(world, tmp_path):
    whole = weights(trained(world, tmp_path / "whole"))

    class Killed(Exception):
        pass

    def kill(row):
        raise Killed

    with pytest.raises(Killed):
        trained(world, tmp_path / "killed", kill)
    resumed = weights(trained(world, tmp_path / "killed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    learns = world.params.train.finetune.text
    pretrained = start_learning(
        world.features("train").specs["text"], "all" if learns == "lora" else learns, world.workspace.root
    ).state_dict()
    learnt = {n.removeprefix("learning.text."): v for n, v in whole.items() if n.startswith("learning.text.")}
    assert learnt.keys() == pretrained.keys()
    assert any(not torch.equal(learnt[name], pretrained[name]) for name in learnt)


def test_what_was_learnt_is_saved_and_offline_is_served(world, tmp_path):
    fitted = trained(world, tmp_path)
    folder = tmp_path / "model"
    card = checkpoint.save(folder, fitted.model, fitted.card)
    assert card.learning["text"].learns == world.params.train.finetune.text
    assert card.calibration is not None
    model, _ = checkpoint.load(folder)
    offline = predict_split(model, world.features("test"), 7, device="cpu")
    assert predict_split(fitted.model, world.features("test"), 3).probabilities == pytest.approx(
        offline.probabilities, abs=1e-6
    )
    predictor = Predictor.load(folder, "lsgmer:test", "cpu", world.workspace.root)
    items = inputs(world)
    used = [len(item.previous) if item.text else 0 for item in items]
    served = predictor.predict(items, 5)
    assert np.array([list(p.probabilities.values()) for p in served]) == pytest.approx(offline.probabilities, abs=1e-6)
    assert [p.context_used for p in served] == used
    assert max(used) == 2
    alone = predictor.predict([replace(item, previous=()) for item in items])
    assert any(a.probabilities != s.probabilities for a, s in zip(alone, served, strict=True)), "context is read"


def test_one_flipped_byte_in_a_layer_that_learnt_is_refused(world, tmp_path):
    fitted = trained(world, tmp_path)
    checkpoint.save(tmp_path / "model", fitted.model, fitted.card)
    path = tmp_path / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    place = content.index(b"learning.text")
    assert place > 0
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(LsgmerError, match=r"model\.safetensors: sha256 is"):
        checkpoint.load(tmp_path / "model")


def test_features_for_other_layers_are_an_error(world, tmp_path):
    other = "last_2" if world.params.train.finetune.text != "last_2" else "all"
    finetune = world.params.train.finetune.model_copy(update={"text": other})
    train = world.params.train.model_copy(update={"finetune": finetune})
    params = world.params.model_copy(update={"train": train})
    with pytest.raises(LsgmerError, match="run `dvc repro features`"):
        fit(
            world.features("train"),
            world.features("valid"),
            params,
            MODALITIES,
            tmp_path,
            root=world.workspace.root,
        )


def test_the_linear_baseline_reads_the_frozen_encoders_output(world, tmp_path):
    frozen = build_world(tmp_path, COUNTS, *SETTINGS)
    frozen = replace(frozen, utterances=world.utterances)
    write_manifest(frozen.workspace, frozen.params, frozen.utterances)
    features.run(frozen.workspace, features.Needs.of(frozen.params))
    assert np.allclose(pooled(world.features("test")), pooled(frozen.features("test")), atol=1e-5)


def test_features_do_not_depend_on_which_layers_above_them_learn(tmp_path):
    stores: list[FeatureSplit] = []
    for learns in ("all", "lora"):
        stores.append(make_world(tmp_path / learns, f"train.finetune={{text: {learns}}}").features("train"))
    assert stores[0].specs["text"] == stores[1].specs["text"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_batch_in_pieces_is_the_batch(count):
    part = learnable("train", 23, 1)
    for batch, labels in Feeder(part, MODALITIES, 8, torch.device("cpu")).in_order():
        pieces = divide(batch, labels, count)
        assert sum((piece.ids for piece, _ in pieces), ()) == batch.ids
        assert torch.equal(torch.cat([truth for _, truth in pieces]), labels)
        for piece, _ in pieces:
            for row, name in enumerate(piece.ids):
                whole = batch.ids.index(name)
                left, right = ~piece.audio.is_padding[row], ~batch.audio.is_padding[whole]
                assert torch.equal(piece.audio.values[row][left], batch.audio.values[whole][right])


def test_a_step_is_the_same_whatever_the_number_of_pieces(tmp_path):
    train, valid = learnable("train", 48, 1), learnable("valid", 24, 2)
    found = []
    for pieces in (1, 2, 5):
        params = small_params("model.dropout=0.0", "train.modality_dropout=0.0", f"train.accumulation={pieces}")
        found.append(fit(train, valid, params, MODALITIES, tmp_path / str(pieces)).history)
    for other in found[1:]:
        for left, right in zip(found[0], other, strict=True):
            assert left == pytest.approx(right, abs=1e-3)


def test_the_average_of_the_weights_is_what_is_kept_and_resumed(tmp_path):
    train, valid = learnable("train", 48, 1), learnable("valid", 24, 2)
    plain = fit(train, valid, small_params(), MODALITIES, tmp_path / "plain")
    params = small_params("train.average_decay=0.9")
    averaged = fit(train, valid, params, MODALITIES, tmp_path / "averaged")
    assert not torch.equal(plain.model.scorer.affinity.weight, averaged.model.scorer.affinity.weight)

    def kill(row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(train, valid, params, MODALITIES, tmp_path / "killed", kill)
    resumed = fit(train, valid, params, MODALITIES, tmp_path / "killed")
    assert all(torch.equal(v, weights(resumed)[n]) for n, v in weights(averaged).items())


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_mixed_layers_learn_a_weight_each_and_are_rebuilt_and_served(modality, tmp_path):
    save_speech(tmp_path / "w" / "encoders" / "hubert")
    hubert = "features.audio={kind: transformers, source: encoders/hubert, layers: [1, 2, 3], mix: true}"
    words = ("features.text.layers=[1, 2, 3]", "features.text.mix=true")
    world = make_world(tmp_path / "w", *((hubert,) if modality == "audio" else words), "train.epochs=3")
    fitted = trained(world, tmp_path / "s")
    learnt = fitted.model.learning[modality].weights.detach()
    assert learnt.shape == (3,)
    assert learnt.std() > 0
    card = checkpoint.save(tmp_path / "model", fitted.model, fitted.card)
    assert card.learning[modality].learns == "mix"
    predictor = Predictor.load(tmp_path / "model", "lsgmer:test", "cpu", world.workspace.root)
    offline = predict_split(predictor.model, world.features("test"), 7, device="cpu").probabilities
    served = np.array([list(p.probabilities.values()) for p in predictor.predict(inputs(world))])
    assert served == pytest.approx(offline, abs=1e-6)
    (note,) = mix_weights(Ensemble([predictor.model, predictor.model]), card)
    shares = learnt.softmax(0).tolist()
    assert note.endswith(", ".join(f"{layer}: {share:.3f}" for layer, share in zip((1, 2, 3), shares, strict=True)))
    assert mix_weights(predictor.model, card) == [note]
