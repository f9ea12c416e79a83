"""Offline equals served, alone equals in a batch, and a missing modality is legal."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import OutOfLimits, Waveform, decode, facts
from lsgmer.core.device import choose_device
from lsgmer.core.errors import LsgmerError
from lsgmer.features.batch import collate
from lsgmer.inference.outputs import consistency, predict_split
from lsgmer.inference.predictor import BATCH_S, Input, Predictor, _batches
from lsgmer.model import checkpoint
from lsgmer.params import load_params
from tests.support import synthetic
from tests.support.builders import RATE, World, build_world, extract, random_model
from tests.support.faults import FAULTS
from tests.support.synthetic import ROOT

WORDS = "glad you came home"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = extract(build_world(tmp_path_factory.mktemp("world"), {"train": 3, "valid": 3, "test": 24}))
    for name, modalities in (("train", ("audio", "text")), ("audio", ("audio",)), ("text", ("text",))):
        random_model(made.workspace.data(name), made.features("test"), made.params, modalities=modalities)
    return made


def predictor(world: World, name: str = "train") -> Predictor:
    return Predictor.load(world.workspace.data(name), "lsgmer:test", "cpu", world.workspace.root)


def inputs(world: World) -> list[Input]:
    return [Input(world.wave(u) if u.audio else None, u.text) for u in world.part("test")]


def table(predictions) -> np.ndarray:
    return np.array([list(p.probabilities.values()) for p in predictions])


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_offline_probabilities_are_the_served_ones(world, batch_size):
    """From the recordings through Predictor, and from the feature store as evaluate does: the same numbers."""
    served = predictor(world).predict(inputs(world), batch_size)
    model, card = checkpoint.load(world.workspace.data("train"))
    offline = predict_split(model, world.features("test"), 7, device="cpu")
    assert table(served) == pytest.approx(offline.probabilities, abs=1e-6)
    assert offline.probabilities.std(0).min() > 1e-4, "the model says different things"
    attributed = np.array([list(p.attribution.values()) for p in served])
    assert attributed == pytest.approx(offline.attribution, abs=1e-6)
    assert [p.consistency for p in served] == pytest.approx(offline.consistency.tolist(), abs=1e-6)
    names = [card.labels.names[i] for i in offline.probabilities.argmax(1)]
    assert [p.emotion for p in served] == names
    assert {len(p.modalities) for p in served} == {1, 2}, "some have audio or words only"


def test_alone_is_as_in_a_batch(world):
    ready, items = predictor(world), inputs(world)
    alone = [ready.predict([item])[0] for item in items]
    assert table(ready.predict(items)) == pytest.approx(table(alone), abs=1e-6)


def test_order_and_rows_do_not_matter(world):
    model, _ = checkpoint.load(world.workspace.data("train"))
    test = world.features("test")
    whole = predict_split(model, test, 64)
    rows = list(np.random.default_rng(0).permutation(len(test)))[:9]
    part = predict_split(model, test, 2, rows)
    for name in ("probabilities", "attribution", "fused", "consistency", "readable"):
        assert getattr(part, name) == pytest.approx(getattr(whole, name)[rows], abs=1e-5)


def test_a_missing_modality_is_not_zeros(world):
    """A modality that nobody in the batch has, one that is padding throughout, and blank words: all the same."""
    model, _ = checkpoint.load(world.workspace.data("train"))
    item = replace(world.features("test").item(0), text=None)
    with torch.no_grad():
        absent = model(collate([item], False)).logits
        padded = model(collate([item], False, world.features("test").dimensions)).logits
    assert torch.allclose(absent, padded, atol=1e-6)
    ready, wave = predictor(world), inputs(world)[0].audio
    assert ready.predict([Input(wave, " \n")])[0] == ready.predict([Input(wave)])[0]
    assert ready.predict([Input(wave)])[0].modalities == ("audio",)
    both, one = ready.predict([Input(wave, WORDS), Input(wave)])
    assert both.probabilities != one.probabilities


def test_a_model_of_one_modality_ignores_the_other(world):
    ready, wave = predictor(world, "audio"), inputs(world)[0].audio
    assert ready.modalities == ("audio",)
    assert ready.predict([Input(wave, WORDS)]) == ready.predict([Input(wave)])
    with pytest.raises(LsgmerError, match="got text; this model reads audio"):
        ready.predict([Input(text=WORDS)])


@pytest.mark.parametrize("name", ["audio", "text"])
def test_what_a_model_cannot_read_is_marked(world, name):
    model, _ = checkpoint.load(world.workspace.data(name))
    test = world.features("test")
    found = predict_split(model, test, 8)
    assert found.readable.tolist() == test.has(name).tolist()
    blind = ~found.readable
    assert blind.any()
    assert (found.probabilities[blind] == 1 / 3).all()
    assert (found.consistency[blind] == 0).all()


def test_one_answer_is_complete(world):
    found = predictor(world).predict([inputs(world)[0]])[0]
    assert found.model_version == "lsgmer:test"
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert sum(found.attribution.values()) == pytest.approx(1)
    assert tuple(found.probabilities) == synthetic.LABELS.names
    assert found.emotion == max(found.probabilities, key=found.probabilities.get)
    assert 0 <= found.consistency <= 1
    assert found.request_id is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Input(), "got nothing; this model reads audio or text"),
        (Input(text="  "), "got nothing"),
        (Input(Waveform(np.zeros(0, np.float32), RATE)), "audio: empty"),
        (Input(Waveform(np.array([0.0, np.nan], np.float32), RATE)), "audio: not finite"),
    ],
)
def test_bad_input_is_refused_with_the_reason_and_the_next_is_answered(world, item, reason):
    ready = predictor(world)
    with pytest.raises(LsgmerError, match=reason):
        ready.predict([item])
    assert ready.predict([Input(text=WORDS)])[0].modalities == ("text",)
    assert ready.predict([]) == []


LIMITS = load_params(ROOT / "params.yaml").validate_.audio_limits


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_the_same_reason_in_validation_and_in_prediction(world, tmp_path, name):
    content, reason = FAULTS[name]
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    known = facts(path)
    assert reason in (known.error or next(iter(LIMITS.breaches(asdict(known)).values())))
    ready = predictor(world)
    ready.limits = LIMITS
    with pytest.raises(LsgmerError) as refused:
        ready.predict([Input(decode(path))])
    assert reason in str(refused.value)


def test_audio_a_little_outside_the_limits_is_answered_with_a_warning(world):
    ready = predictor(world)
    ready.limits = LIMITS.model_copy(update={"max_duration_s": 0.6, "max_clipping_share": 0.01})
    loud = np.sign(np.random.default_rng(1).normal(size=RATE)).astype(np.float32)
    speech = 0.1 * np.random.default_rng(2).normal(size=RATE).astype(np.float32)
    loud[RATE // 4 :] = speech[RATE // 4 :]
    (found,) = ready.predict([Input(Waveform(loud, RATE))])
    assert [warning.split(" is over")[0] for warning in found.warnings] == [
        "audio: too long: 1.00 s",
        "audio: clipped: 25% of it",
    ]
    (fine,) = ready.predict([Input(Waveform(speech[: RATE // 2], RATE))])
    assert fine.warnings == ()
    with pytest.raises(OutOfLimits, match="too long: 2"):
        ready.predict([Input(Waveform(np.tile(speech, 2), RATE))])


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(1, 16))
def test_batches_are_in_order_and_bounded(durations, size):
    items = [Input(Waveform(np.zeros(round(duration * 10), np.float32), 10)) for duration in durations]
    found = [list(range(len(items)))[part] for part in _batches(items, size)]
    assert [i for part in found for i in part] == list(range(len(items)))
    for part in found:
        longest = max(items[i].audio.duration_s for i in part)
        assert len(part) == 1 or (len(part) <= size and longest * len(part) <= BATCH_S)


def test_packed_encoders_are_used_before_the_source(world, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(world.workspace.data("train"), folder)
    with pytest.raises(LsgmerError, match="encoders/text"):
        Predictor.load(folder, "v", "cpu", tmp_path / "elsewhere")
    shutil.copytree(world.workspace.root / "encoders" / "text", folder / "encoders" / "text")
    packed = Predictor.load(folder, "v", "cpu", tmp_path / "elsewhere")
    item = Input(text=WORDS)
    assert table(packed.predict([item])).tolist() == table(predictor(world).predict([item])).tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7))
def test_consistency_laws(seed, labels):
    random = np.random.default_rng(seed)
    q, p = random.dirichlet([0.3] * labels, 5), random.dirichlet([0.3] * labels, 5)
    found = consistency(q, p)
    assert ((found >= 0) & (found <= 1)).all()
    assert found == pytest.approx(consistency(p, q)), "symmetric"
    assert consistency(q, q) == pytest.approx(np.ones(5))
    order = random.permutation(labels)
    assert found == pytest.approx(consistency(q[:, order], p[:, order]))


def test_consistency_by_hand():
    q, p = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    half = (np.log(1 / 0.75) + 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)) / 2  # JS of (.5, .5) and (1, 0)
    assert consistency(q, p) == pytest.approx([0.0, 1 - half / np.log(2)])


def test_consistency_is_the_objectives_divergence():
    from lsgmer.model.objective import attribution_prediction_consistency

    random = np.random.default_rng(1)
    q, p = random.dirichlet([1] * 4, 6), random.dirichlet([1] * 4, 6)
    divergence = attribution_prediction_consistency(torch.from_numpy(q), torch.from_numpy(p)).numpy()
    assert consistency(q, p) == pytest.approx(1 - divergence / np.log(2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(LsgmerError, match="torch sees no GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
