"""A model without speakers' levels: offline is served, and a louder session no longer moves its decisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.evaluation.measure import speakers_unknown
from lsgmer.inference.outputs import predict_split
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.model import checkpoint
from lsgmer.stages import features
from lsgmer.training.fit import fit
from tests.support.builders import World, build_world, write_manifest

COUNTS = {"train": 48, "valid": 24, "test": 40}


def make_world(root: Path, mode: str) -> World:
    world = build_world(root, COUNTS, f"features.normalise={mode}", "train.epochs=3")
    made = tuple(replace(u, session=f"{u.split}-{int(u.speaker[-1]) % 2}") for u in world.utterances)
    world = replace(world, utterances=made, manifest_sha256=write_manifest(world.workspace, world.params, made))
    features.run(world.workspace, features.Needs.of(world.params))
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    made = make_world(tmp_path_factory.mktemp("world"), "speaker")
    fitted = fit(made.features("train"), made.features("valid"), made.params, ("audio",), made.workspace.scratch)
    checkpoint.save(made.workspace.data("train"), fitted.model, fitted.card)
    return made


def inputs(world: World, gain: float = 1.0) -> list[Input]:
    found = []
    for u in world.part("test"):
        if u.audio is not None:
            wave = world.wave(u)
            found.append(Input(Waveform((wave.samples * gain).astype(np.float32), wave.sample_rate), speaker=u.speaker))
    return found


def table(predictions) -> np.ndarray:
    return np.array([list(p.probabilities.values()) for p in predictions])


@pytest.fixture
def predictor(world) -> Predictor:
    return Predictor.load(world.workspace.data("train"), "lsgmer:test", "cpu", world.workspace.root)


def test_each_group_has_level_zero_and_training_keeps_the_fallback(world):
    for split in ("train", "valid", "test"):
        part = world.features(split)
        owner = np.repeat(np.array(part.speakers), part.lengths("audio"))
        for speaker in set(part.speakers):
            own = part.flat["audio"][owner == speaker]
            assert own.mean(0) == pytest.approx(0, abs=1e-4)
        assert part.normalise == "speaker"
        assert np.array_equal(part.levels.training.mean, world.features("train").levels.training.mean)
    model, card = checkpoint.load(world.workspace.data("train"))
    assert card.normalise == "speaker"
    assert np.array_equal(model.stream("audio").level_mean.numpy(), world.features("train").levels.training.mean)


def test_offline_is_served_once_a_speakers_utterances_are_known(world, predictor):
    levels = SpeakerLevels.offline()
    predictor.enrol(inputs(world), levels)
    served = predictor.predict(inputs(world), levels=levels, learn=False)
    offline = predict_split(predictor.model, world.features("test"), 7, device="cpu")
    rows = [i for i, u in enumerate(world.part("test")) if u.audio is not None]
    assert table(served) == pytest.approx(offline.probabilities[rows], abs=1e-6)
    assert {p.normalised_by for p in served} == {"speaker"}
    assert all(p.enrolled > 1 for p in served)


def test_unknown_speakers_are_read_with_the_training_level(world, predictor):
    served = predictor.predict(inputs(world))
    offline = predict_split(predictor.model, speakers_unknown(world.features("test")), 7, device="cpu")
    rows = [i for i, u in enumerate(world.part("test")) if u.audio is not None]
    assert table(served) == pytest.approx(offline.probabilities[rows], abs=1e-4)
    assert {(p.normalised_by, p.enrolled) for p in served} == {("training", 0)}


def test_a_change_of_level_moves_decisions_only_where_the_speaker_is_unknown(world, predictor):
    found = {}
    for gain in (1.0, 0.1):
        levels = SpeakerLevels.offline()
        predictor.enrol(inputs(world, gain), levels)
        found[gain] = table(predictor.predict(inputs(world, gain), levels=levels, learn=False))
    assert np.abs(found[1.0] - found[0.1]).max() < 0.05
    unknown = [table(predictor.predict(inputs(world, gain))) for gain in (1.0, 0.1)]
    assert np.abs(unknown[0] - unknown[1]).max() > np.abs(found[1.0] - found[0.1]).max()


def test_a_level_takes_in_the_utterance_itself(world, predictor):
    levels = SpeakerLevels(10, 3600)
    mine = [item for item in inputs(world) if item.speaker == inputs(world)[0].speaker]
    counts = [predictor.predict([item], levels=levels)[0].enrolled for item in mine]
    assert counts == list(range(1, len(mine) + 1))


def test_by_session_the_speakers_of_a_session_share_a_level(tmp_path):
    part = make_world(tmp_path, "session").features("train")
    owner = np.repeat(np.array(part.sessions), part.lengths("audio"))
    for session in set(part.sessions):
        assert part.flat["audio"][owner == session].mean(0) == pytest.approx(0, abs=1e-4)


def test_without_sessions_normalising_by_session_is_an_error(tmp_path):
    world = build_world(tmp_path, COUNTS, "features.normalise=session")
    with pytest.raises(LsgmerError, match=r"features\.normalise: session: \d+ utterances have no session"):
        features.run(world.workspace, features.Needs.of(world.params))
