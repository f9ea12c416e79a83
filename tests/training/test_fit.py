"""Training selects on valid, resumes to the same bits, and has no way in for test data."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MODALITIES
from lsgmer.inference.outputs import predict_split
from lsgmer.model import checkpoint
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.train_card import speaker_digest
from lsgmer.training.fit import check_parts, fit
from lsgmer.training.loader import Feeder, crop, hide_modalities
from lsgmer.training.start import frame_statistics, pooled_statistics
from lsgmer.training.trainer import schedule
from tests.support.synthetic import AUDIO, batch, items, learnable, small_params, split

TRAIN, VALID = learnable("train", 48, 1), learnable("valid", 24, 2)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def weights(fitted):
    return {name: value.clone() for name, value in fitted.model.state_dict().items()}


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_it_learns_and_selects_on_valid(tmp_path):
    fitted = fit(TRAIN, VALID, small_params("train.epochs=8"), MODALITIES, tmp_path)
    scores = [row["valid_balanced_accuracy"] for row in fitted.history]
    assert max(scores) > 0.7
    assert scores[fitted.card["best_epoch"]] == max(scores[2:]), "of 8 epochs the first two warm up"
    assert fitted.history[0]["train_loss"] > fitted.history[-1]["train_loss"]


def test_the_metric_that_selects_is_a_parameter(tmp_path):
    noise = split("valid", items(12, 5))
    plain = fit(TRAIN, noise, small_params("train.epochs=8"), MODALITIES, tmp_path / "a")
    chosen = fit(TRAIN, noise, small_params("train.epochs=8", "train.select=weighted_f1"), MODALITIES, tmp_path / "b")
    assert "valid_weighted_f1" not in plain.history[0]
    scores = [(row["valid_weighted_f1"], -row["valid_loss"]) for row in chosen.history]
    assert chosen.card["best_epoch"] == scores.index(max(scores[2:]))
    assert chosen.card["valid_metrics"]["valid_weighted_f1"] == max(scores[2:])[0]
    assert [{k: v for k, v in row.items() if k != "valid_weighted_f1"} for row in chosen.history] == plain.history


def test_the_mean_of_models_from_several_seeds(tmp_path):
    """It is saved and loaded like one model, resumes to the same bits, and its probabilities are the members' mean."""
    params = small_params("train.epochs=3", "train.members=3", "train.calibrate=false")
    fitted = fit(TRAIN, VALID, params, MODALITIES, tmp_path / "a")
    assert [member.seed for member in fitted.card["members"]] == [params.runtime.seed + i for i in range(3)]
    assert [row["member"] for row in fitted.history] == [0] * 3 + [1] * 3 + [2] * 3
    alone = [
        fit(TRAIN, VALID, small_params("train.epochs=3", "train.calibrate=false", f"runtime.seed={seed}"), MODALITIES,
            tmp_path / str(seed))
        for seed in (member.seed for member in fitted.card["members"])
    ]  # fmt: skip
    assert all(same(weights(one), member.state_dict()) for one, member in zip(alone, fitted.model.members, strict=True))
    outputs = predict_split(fitted.model, VALID, 8)
    mean = np.mean([predict_split(one.model, VALID, 8).probabilities for one in alone], axis=0)
    assert outputs.probabilities == pytest.approx(mean, abs=1e-6)
    assert fitted.card["valid_metrics"]["valid_accuracy"] == (mean.argmax(1) == VALID.labels).mean()

    checkpoint.save(tmp_path / "model", fitted.model, fitted.card)
    loaded, card = checkpoint.load(tmp_path / "model")
    assert same(weights(fitted), loaded.state_dict())
    assert card.parameters == 3 * sum(parameter.numel() for parameter in alone[0].model.parameters())

    def kill(row):
        if row["member"] == 1 and row["epoch"] == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(TRAIN, VALID, params, MODALITIES, tmp_path / "b", kill)
    assert same(weights(fit(TRAIN, VALID, params, MODALITIES, tmp_path / "b")), weights(fitted))
    fitted.forget()
    assert not list((tmp_path / "a").rglob("*.safetensors"))


def test_the_mean_of_models_has_a_temperature_of_its_own(tmp_path):
    fitted = fit(TRAIN, VALID, small_params("train.epochs=2", "train.members=2"), MODALITIES, tmp_path)
    assert fitted.card["calibration"].temperature == pytest.approx(float(fitted.model.temperature_scale))
    assert all(float(member.temperature_scale) == 1 for member in fitted.model.members)


def test_no_epoch_of_the_warm_up_is_chosen(tmp_path):
    noise = split("valid", items(12, 5))
    for share, first in ((0.5, 3), (1.0, 5)):
        params = small_params("train.epochs=6", "train.patience=6", f"train.warmup_share={share}")
        assert fit(TRAIN, noise, params, MODALITIES, tmp_path / str(share)).card["best_epoch"] >= first


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    runs = [fit(TRAIN, VALID, small_params(f"runtime.seed={seed}"), MODALITIES, tmp_path / name)
            for name, seed in (("a", 1), ("b", 1), ("c", 2))]  # fmt: skip
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    whole = fit(TRAIN, VALID, small_params(), MODALITIES, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(row):
        if row["epoch"] == 1:
            raise Killed

    with pytest.raises(Killed):
        fit(TRAIN, VALID, small_params(), MODALITIES, tmp_path / "killed", kill)
    seen = []
    resumed = fit(TRAIN, VALID, small_params(), MODALITIES, tmp_path / "killed", seen.append)
    assert same(weights(whole), weights(resumed))
    assert [row["epoch"] for row in seen] == [0, 1, 2, 3]
    assert resumed.history == whole.history
    assert whole.card == resumed.card


def test_a_state_of_other_params_or_data_is_not_taken_up(tmp_path):
    fit(TRAIN, VALID, small_params(), MODALITIES, tmp_path)
    seen = []
    fit(TRAIN, VALID, small_params("train.learning_rate=0.02"), MODALITIES, tmp_path, seen.append)
    assert len(seen) == 4
    assert len(list((tmp_path / "fit-audio-text").iterdir())) == 1


def test_a_finished_state_is_forgotten_only_when_told(tmp_path):
    fitted = fit(TRAIN, VALID, small_params(), MODALITIES, tmp_path)
    assert fitted.states[0].is_file()
    fitted.forget()
    assert not fitted.states[0].exists()


def test_early_stopping(tmp_path):
    noise = split("valid", items(12, 5))
    fitted = fit(TRAIN, noise, small_params("train.epochs=30", "train.patience=2"), MODALITIES, tmp_path)
    assert fitted.card["epochs_run"] < 30
    assert fitted.card["epochs_run"] - 1 - fitted.card["best_epoch"] >= 2


@pytest.mark.parametrize("name", MODALITIES)
def test_one_modality(tmp_path, name):
    fitted = fit(TRAIN, VALID, small_params(), (name,), tmp_path)
    assert fitted.card["variant"] == name
    assert [m for m in MODALITIES if fitted.card["encoders"][m]] == [name]
    card = checkpoint.save(tmp_path / "out", fitted.model, fitted.card)
    assert checkpoint.load(tmp_path / "out")[1] == card


def test_no_parameter_lets_test_data_in():
    assert set(inspect.signature(fit).parameters) == {
        "train",
        "valid",
        "params",
        "modalities",
        "scratch",
        "on_epoch",
        "root",
    }
    with pytest.raises(LsgmerError, match="train and valid splits only"):
        fit(TRAIN, learnable("test", 12, 3), small_params(), MODALITIES, None)


def test_parts_that_do_not_belong_together_are_refused():
    shared = replace(VALID, ids=(*TRAIN.ids[:1], *VALID.ids[1:]))
    with pytest.raises(LsgmerError, match="share 1 utterances"):
        check_parts(TRAIN, shared)
    with pytest.raises(LsgmerError, match="different runs"):
        check_parts(TRAIN, replace(VALID, manifest_sha256="other"))


def test_the_card_names_the_speakers_seen(tmp_path):
    fitted = fit(TRAIN, VALID, small_params(), MODALITIES, tmp_path)
    expected = {speaker_digest(s) for s in (*TRAIN.speakers, *VALID.speakers)}
    assert set(fitted.card["seen_speakers"]) == expected


def test_cuda_without_a_gpu_is_refused(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(LsgmerError, match="torch sees no GPU"):
        fit(TRAIN, VALID, small_params("runtime.device=cuda"), MODALITIES, tmp_path)


def test_shuffled_batches_hold_every_utterance_once():
    feeder = Feeder(TRAIN, MODALITIES, 8, torch.device("cpu"))
    ids = [id_ for part, _ in feeder.shuffled(np.random.default_rng(0), 0.5) for id_ in part.ids]
    assert sorted(ids) == sorted(TRAIN.ids)
    assert [i for part, _ in feeder.in_order() for i in part.ids] == list(TRAIN.ids)


def test_a_crop_is_a_stretch_of_at_least_its_share():
    random, frames = np.random.default_rng(0), np.arange(20)[:, None]
    crops = [crop(frames, 0.6, random)[:, 0] for _ in range(200)]
    assert {len(stretch) for stretch in crops} == set(range(12, 21))
    assert all((np.diff(stretch) == 1).all() for stretch in crops)
    assert {int(stretch[0]) for stretch in crops} >= {0, 5}
    assert len(crop(frames[:1], 0.0, random)) == 1
    before = random.bit_generator.state
    assert crop(frames, 1.0, random) is frames
    assert random.bit_generator.state == before


def test_only_the_audio_of_training_batches_is_cropped():
    feeder = Feeder(TRAIN, MODALITIES, len(TRAIN), torch.device("cpu"))
    (whole, _), (cropped, _) = (next(iter(feeder.shuffled(np.random.default_rng(0), 0.0, c))) for c in (1.0, 0.3))
    assert (~cropped.audio.is_padding).sum() < (~whole.audio.is_padding).sum()
    assert (~cropped.text.is_padding).sum() == (~whole.text.is_padding).sum()
    ordered, _ = next(iter(feeder.in_order()))
    assert (~ordered.audio.is_padding).sum() == len(TRAIN.flat["audio"])


def test_a_model_of_input_statistics_standardises_by_the_training_utterances_and_trains(tmp_path):
    params = small_params("model.statistics=input", "train.audio_crop=0.6")
    mean, scale = pooled_statistics(LSGMER(small_params().model, 3, TRAIN.dimensions), TRAIN, "audio", None)
    frames = [TRAIN.features("audio", i) for i in range(len(TRAIN))]
    np.testing.assert_allclose(mean[:AUDIO], np.mean([f.mean(0) for f in frames], axis=0), atol=1e-5)
    np.testing.assert_allclose(scale[:AUDIO], np.std([f.mean(0) for f in frames], axis=0), atol=1e-5)
    model = fit(TRAIN, VALID, params, MODALITIES, tmp_path).model
    torch.testing.assert_close(model.stream("audio").pooling.mean, mean)
    torch.testing.assert_close(model.stream("audio").pooling.scale, scale)


def test_a_feeder_leaves_out_utterances_without_its_modality():
    part = split("train", items(30, absent=0.8))
    feeder = Feeder(part, ("audio",), 8, torch.device("cpu"))
    assert len(feeder.labels) == part.has("audio").sum() < len(part)


def test_hiding_never_takes_both_modalities():
    hidden = hide_modalities(batch(40, absent=0.3), 1.0, np.random.default_rng(0))
    gone = hidden.audio.is_padding.all(1) & hidden.text.is_padding.all(1)
    either = hidden.audio.is_padding.all(1) | hidden.text.is_padding.all(1)
    assert not gone.any()
    assert either.all()
    assert hidden.audio.is_padding.all(1).any()
    assert hidden.text.is_padding.all(1).any()


def test_frame_statistics_are_those_of_all_frames():
    mean, scale = frame_statistics(TRAIN, "audio")
    np.testing.assert_allclose(mean, TRAIN.flat["audio"].mean(0), atol=1e-6)
    np.testing.assert_allclose(scale, TRAIN.flat["audio"].std(0), atol=1e-5)


def test_the_schedule_warms_up_and_ends_at_zero():
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert np.argmax(rates) in (9, 10)
    assert rates[-1] < 0.001
