"""Speaker normalisation uses a speaker's own frames and no labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lsgmer.experiments.resplit import speaker_normalised
from tests.support.synthetic import items, split

SPEAKERS = ["s1", "s2"]


def frames_of(part, speaker, modality="audio"):
    chosen = [part.features(modality, i) for i, name in enumerate(part.speakers) if name == speaker]
    return np.concatenate([frames for frames in chosen if frames is not None])


def test_each_speakers_frames_get_mean_0_and_deviation_1():
    part = split("train", items(12, absent=0.3), SPEAKERS * 6)
    done = speaker_normalised(part, "audio")
    for speaker in SPEAKERS:
        assert np.allclose(frames_of(done, speaker).mean(0), 0, atol=1e-5)
        assert np.allclose(frames_of(done, speaker).std(0), 1, atol=1e-4)
        before = frames_of(part, speaker)
        assert np.allclose(frames_of(done, speaker), (before - before.mean(0)) / before.std(0), atol=1e-4)
    assert done.flat["audio"].dtype == np.float32


def test_no_label_and_no_other_speaker_is_read():
    made = items(12)
    part = split("test", made, SPEAKERS * 6)
    relabelled = replace(part, labels=part.labels[::-1].copy(), emotions=part.emotions[::-1])
    first = speaker_normalised(part, "audio")
    assert np.array_equal(speaker_normalised(relabelled, "audio").flat["audio"], first.flat["audio"])
    alone = split("test", made[::2], SPEAKERS[:1] * 6)
    assert np.array_equal(frames_of(speaker_normalised(alone, "audio"), "s1"), frames_of(first, "s1"))


def test_a_speakers_gain_and_offset_are_gone():
    made = items(8)
    plain = speaker_normalised(split("train", made, SPEAKERS * 4), "audio")
    for item in made[::2]:
        item.audio[:] = 3 * item.audio + 7
    assert np.allclose(
        speaker_normalised(split("train", made, SPEAKERS * 4), "audio").flat["audio"], plain.flat["audio"], atol=1e-4
    )


def test_a_feature_that_does_not_move_becomes_0():
    made = items(6)
    for item in made:
        item.audio[:, 0] = 5.0
    done = speaker_normalised(split("train", made, SPEAKERS * 3), "audio")
    assert np.isfinite(done.flat["audio"]).all()
    assert (done.flat["audio"][:, 0] == 0).all()


def test_the_rest_of_the_set_and_the_given_one_stay_as_they_were():
    part = split("train", items(6), SPEAKERS * 3)
    before = part.flat["audio"].copy()
    done = speaker_normalised(part, "audio")
    assert np.array_equal(part.flat["audio"], before)
    assert done.flat["text"] is part.flat["text"]
    assert (done.ids, done.speakers, done.sha256 != part.sha256) == (part.ids, part.speakers, True)
    with pytest.raises(KeyError):
        speaker_normalised(replace(part, flat={}), "audio")
