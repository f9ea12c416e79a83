"""The synthetic corpus: planned exactly, spoken alike in any process and order, written wholly or not at all."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.audio import facts
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.hashing import dvc_md5
from lsgmer.core.records import SPLITS
from lsgmer.corpora.params import SampleParams
from lsgmer.corpora.readers import CORPORA
from lsgmer.corpora.synthetic.espeak import Speech, speak
from lsgmer.corpora.synthetic.generate import clip, downsample, generate
from lsgmer.corpora.synthetic.plan import SPEAKERS, TAGS, Planned, plan, tag_counts
from lsgmer.corpora.synthetic.text import FRAGMENTS, fragments
from lsgmer.params import load_params

ROOT = Path(__file__).parents[2]
DEFAULT = load_params(ROOT / "params.yaml")
TINY = SampleParams.model_validate(
    {"seed": 7, "utterances": {"train": 32, "valid": 12, "test": 16}, "shares": DEFAULT.sample.shares}
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    generate(TINY, folder / "corpus", folder / "scratch", processes=2)
    assert not (folder / "scratch").exists()
    return folder / "corpus"


def digests(items: Sequence[Planned]) -> dict[str, str]:
    return {item.id: sha256(clip(item).tobytes()).hexdigest() for item in items}


@settings(max_examples=100)
@given(st.integers(0, 1000), st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any))
def test_counts_are_exact_and_within_one_of_the_share(total: int, weights: list[int]) -> None:
    shares = {tag: weight / sum(weights) for tag, weight in zip(TAGS, weights, strict=True)}
    counts = tag_counts(total, shares)
    assert sum(counts.values()) == total
    assert all(abs(counts[tag] - total * shares[tag]) < 1 for tag in TAGS)


def test_the_default_plan_is_what_the_design_asks() -> None:
    items = plan(DEFAULT.sample)
    for split in SPLITS:
        part = [item for item in items if item.split == split]
        assert len(part) == DEFAULT.sample.utterances[split]
        assert Counter(item.tag for item in part) == tag_counts(len(part), DEFAULT.sample.shares)
        labels = Counter(item.emotion for item in part)
        assert max(labels.values()) - min(labels.values()) <= 1
    test = Counter(item.tag for item in items if item.split == "test")
    assert sum(test.values()) >= 150
    assert min(test["voice_only"], test["text_only"]) >= 0.25 * sum(test.values())


@pytest.mark.parametrize("params", [TINY, DEFAULT.sample], ids=["tiny", "default"])
def test_every_emotion_and_tag_in_every_split(params: SampleParams) -> None:
    for split in SPLITS:
        part = [item for item in plan(params) if item.split == split]
        assert {item.emotion for item in part} == {"angry", "happy", "neutral", "sad"}
        assert {item.tag for item in part} == set(TAGS)
        assert {item.speaker for item in part} == set(SPEAKERS[split])


def test_the_voice_wins_and_text_decides_only_when_it_is_neutral() -> None:
    for item in plan(DEFAULT.sample):
        same = item.voice_emotion == item.text_emotion
        neutral = (item.voice_emotion == "neutral", item.text_emotion == "neutral")
        expected = {(True, False): "text_only", (False, True): "voice_only"}
        assert item.tag == ("congruent" if same else expected.get(neutral, "contradictory"))
        assert item.emotion == (item.text_emotion if neutral[0] else item.voice_emotion)


def test_speakers_voices_and_wording_are_disjoint_across_splits() -> None:
    voices = [speaker.voice.partition("+")[2] for cast in SPEAKERS.values() for speaker in cast]
    names = [speaker.name for cast in SPEAKERS.values() for speaker in cast]
    said = [part for emotion, split in FRAGMENTS for half in fragments(emotion, split) for part in half]
    assert len(voices) == 12
    for values in (voices, names, said):
        assert len(set(values)) == len(values)
    assert all(part and "." not in part for part in said)


def test_a_plan_that_cannot_hold_every_emotion_says_so() -> None:
    shares = {"congruent": 0.0, "voice_only": 0.5, "text_only": 0.5, "contradictory": 0.0}
    with pytest.raises(ParamsError, match="include no neutral one"):
        plan(SampleParams.model_validate(TINY.model_dump() | {"shares": shares}))


def test_clips_are_the_same_in_any_order_and_process() -> None:
    items = plan(TINY)[:4]
    expected = digests(items)
    assert len(set(expected.values())) == len(items)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(digests, (items[::-1], items[2:] + items[:1])):
            assert all(expected[name] == value for name, value in found.items())


def test_the_corpus_is_the_same_bytes_however_many_processes(tiny: Path, tmp_path: Path) -> None:
    generate(TINY, tmp_path / "corpus", tmp_path / "scratch", processes=1)
    assert dvc_md5(tmp_path / "corpus") == dvc_md5(tiny)


def test_the_corpus_reads_as_planned(tiny: Path) -> None:
    reading = CORPORA["sample"](DEFAULT.corpus, tiny)
    assert reading.rejected == ()
    planned = plan(TINY)
    assert [(u.id, u.split, u.speaker, u.emotion, u.text, u.tags) for u in reading.utterances] == [
        (p.id, p.split, p.speaker.name, p.emotion, p.text, (p.tag,)) for p in planned
    ]
    assert "synthetic" in (tiny / "README.md").read_text().splitlines()[0]
    found = [facts(tiny / (u.audio or "")) for u in reading.utterances]
    assert {(f.sample_rate, f.channels, f.error) for f in found} == {(16_000, 1, None)}
    assert all(1 < (f.duration_s or 0) < 12 and (f.clipping_share or 0) < 0.01 for f in found)


@pytest.mark.parametrize(
    "change", [{"rate": 230}, {"pitch": 80}, {"pitch_range": 90}, {"volume": 30}, {"voice": "en-us+m3"}]
)
def test_every_setting_is_heard(change: dict[str, int]) -> None:
    speech = Speech("A short line.", "en-us+f1", rate=170, pitch=50, pitch_range=50, volume=60, seed=1)
    assert not np.array_equal(speak(speech), speak(replace(speech, **change)))  # type: ignore[arg-type]


def test_an_unknown_voice_says_so() -> None:
    with pytest.raises(LsgmerError, match=r"eSpeak NG .* failed on .*xx-nowhere"):
        speak(Speech("Hello.", "xx-nowhere", 170, 50, 50, 60, 1))


def test_equal_clips_are_refused_and_leave_the_old_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = plan(TINY)[0]
    monkeypatch.setattr("lsgmer.corpora.synthetic.generate.plan", lambda _: [item, replace(item, id="twin")])
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "old").touch()
    with pytest.raises(LsgmerError, match=f"clips {item.id} and twin came out the same"):
        generate(TINY, tmp_path / "corpus", tmp_path / "scratch", processes=1)
    assert (tmp_path / "corpus" / "old").exists()


def test_downsampling_keeps_a_tone_and_drops_what_cannot_be_held() -> None:
    time = np.arange(22_050) / 22_050
    low, high = (8000 * np.sin(2 * np.pi * hertz * time) * np.hanning(22_050) for hertz in (440, 10_000))
    found = downsample((low + high).astype(np.int16), 22_050, 16_000)
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000) * np.hanning(16_000)
    assert found.shape == (16_000,)
    assert np.abs(found - expected).max() < 20


def test_the_stage_writes_to_its_workspace(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    small = text.replace("{train: 400, valid: 120, test: 240}", "{train: 12, valid: 12, test: 12}")
    assert small != text
    (tmp_path / "params.yaml").write_text(small)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lsgmer.stages.sample"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "progress sample 36/36" in done.stderr
    assert len(list((tmp_path / "data/raw/sample/audio").glob("*.flac"))) == 36


def test_a_killed_stage_leaves_no_process_and_no_half_corpus(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lsgmer.stages.sample"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as stage:
        assert stage.stderr is not None
        assert stage.stderr.readline().startswith("progress sample")
        workers = psutil.Process(stage.pid).children(recursive=True)
        assert workers
        stage.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    assert not (tmp_path / "data").exists()
