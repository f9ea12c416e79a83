"""Extraction resumes to the same bytes, and each utterance is encoded once into its own split."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from ruamel.yaml import YAML

from lsgmer.audio import Waveform, decode
from lsgmer.audio import facts as audio_facts
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SPLITS
from lsgmer.core.sections import override, read_yaml
from lsgmer.encoders.build import build_audio, build_text
from lsgmer.encoders.context import Earlier
from lsgmer.encoders.params import FinetuneParams
from lsgmer.features import helpers
from lsgmer.features.plan import plan_batches
from lsgmer.features.readers import Readings
from lsgmer.features.store import FeatureSplit
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest, ValidationReport, write_validated
from lsgmer.params import Params, load_params
from lsgmer.stages.features import Needs, choose_device, run
from tests.support import dask
from tests.support.project import wait_for
from tests.support.tiny import WORDS, save_roberta

ROOT = Path(__file__).parents[2]
COUNT = 36
RATE = 16_000


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roberta(tmp_path_factory.mktemp("roberta"))


def utterances(folder: Path) -> list[Utterance]:
    """A corpus of tones: every fifth utterance has no text, every seventh no audio."""
    random = np.random.default_rng(4)
    made = []
    for i in range(COUNT):
        audio = None if i % 7 == 6 else f"audio/{i}.wav"
        if audio:
            length = int(RATE * (0.4 + 0.8 * random.random()))
            tone = 0.2 * np.sin(2 * np.pi * (100 + 5 * i) * np.arange(length) / RATE)
            (folder / "audio").mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / audio, (tone + 0.01 * random.standard_normal(length)), RATE, subtype="PCM_16")
        text = None if i % 5 == 4 and audio else " ".join(random.choice(WORDS, 1 + i % 9))
        split, emotion = SPLITS[i % 3], ("angry", "happy", "neutral", "sad")[i % 4]
        fields = {"split": split, "speaker": f"{split}-{i % 2}", "sex": "f", "tags": ("congruent",)}
        made.append(Utterance(f"u{i:02}", "table", emotion_raw="x", emotion=emotion, audio=audio, text=text, **fields))
    return made


def make_workspace(root: Path, roberta: Path, *changes: str) -> Params:
    """Fill `root` with params.yaml, a corpus, its validated manifest and a tiny text encoder in models/r."""
    shutil.copytree(roberta, root / "models" / "r")
    small = ("features.text.source=models/r", "features.text.sha256=null", "features.text.max_tokens=16")
    sizes = ("features.batch_size=2", "features.audio={kind: logmel, n_mels: 20, hop_ms: 20.0}", "runtime.device=cpu")
    with (root / "params.yaml").open("w") as file:
        YAML().dump(override(read_yaml(ROOT / "params.yaml"), [*small, *sizes, *changes]), file)
    params = load_params(root / "params.yaml")
    validate(root, params, utterances(root / params.corpus.path))
    return params


def validate(root: Path, params: Params, made: list[Utterance]) -> None:
    """Write the validated manifest of `made`, as validation does for data that pass."""
    manifest = Manifest(tuple(made), params.corpus.label_set, "table")
    facts = {u.id: audio_facts(root / params.corpus.path / u.audio, channel=u.channel) for u in made if u.audio}
    report = ValidationReport(
        passed=True, expectations=(), summary={}, quarantined={}, manifest_hash=manifest.content_hash
    )
    write_validated(root / "data" / "validate", manifest, facts, report)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where no bytecode is kept, let the processes started here share some: torch imports in 3 s then, not 9 s."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


def start(root: Path) -> subprocess.Popen[str]:
    """Start the stage as the pipeline does: in a process of its own, with the workspace as its folder."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lsgmer.stages.features"]
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def content(root: Path) -> dict[str, bytes]:
    features = root / "data" / "features"
    return {str(p.relative_to(features)): p.read_bytes() for p in sorted(features.rglob("*")) if p.is_file()}


def shards(root: Path) -> list[Path]:
    return sorted((root / ".lsgmer" / "scratch" / "features").glob("*/*.npz"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, roberta: Path) -> Path:
    """A workspace whose features were made without an interruption."""
    root = tmp_path_factory.mktemp("reference")
    run(Workspace(root), make_workspace(root, roberta))
    return root


def test_each_channel_of_a_call_has_the_features_of_its_own_voice(tmp_path: Path, roberta: Path) -> None:
    params = make_workspace(tmp_path, roberta)
    corpus = tmp_path / params.corpus.path
    made = [u for u in utterances(corpus) if u.audio]
    one, other = [u for u in made if u.split == "test"][:2]
    voices = [decode(corpus / str(u.audio)).samples for u in (one, other)]
    length = min(map(len, voices))
    soundfile.write(corpus / "call.wav", np.stack([v[:length] for v in voices], axis=1), RATE, subtype="FLOAT")
    sides = [replace(u, audio="call.wav", channel=side) for side, u in enumerate((one, other))]
    rows = sorted([*sides, *(u for u in made if u not in (one, other))], key=lambda u: u.id)
    validate(tmp_path, params, rows)
    run(Workspace(tmp_path), params)
    found = FeatureSplit.load(tmp_path / "data/features/test")
    encoder = build_audio(params.features.audio, tmp_path, "cpu")
    assert encoder is not None
    for utterance, voice in zip(sides, voices, strict=True):
        (expected,) = encoder.encode([Waveform(voice[:length], RATE)])
        np.testing.assert_allclose(found.features("audio", found.ids.index(utterance.id)), expected, atol=1e-5)


def test_precomputed_features_stand_in_for_audio(
    tmp_path: Path, roberta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By utterance id, with or without a recording; ids that nobody asks for are counted."""
    source = ("features.audio.kind=precomputed", "features.audio.source=ready/audio.npz")
    params = make_workspace(tmp_path, roberta, *source)
    corpus, random = tmp_path / params.corpus.path, np.random.default_rng(2)
    known = {f"u{i:02}": random.normal(size=(1 + i % 3, 4)).astype("f4") for i in range(0, COUNT, 2)} | {
        "x": np.ones(4)
    }
    (corpus / "ready").mkdir()
    np.savez(corpus / "ready" / "audio.npz", **known)
    # A row without words must have features then: u04, u14 and u24 have; the others are left out of the corpus.
    made = [u for u in utterances(corpus) if u.text or u.id in known]
    validate(tmp_path, params, made)
    run(Workspace(tmp_path), params)
    parts = [FeatureSplit.load(tmp_path / "data" / "features" / name) for name in SPLITS]
    for part in parts:
        assert part.specs["audio"].kind == "precomputed"
        for i, key in enumerate(part.ids):
            found = part.features("audio", i)
            assert (found is not None) == (key in known)
            if found is not None:
                np.testing.assert_array_equal(found, known[key])
    assert f"precomputed for {len(known) - 1} utterances" in capsys.readouterr().out


def test_the_store_holds_what_the_encoders_say(reference: Path) -> None:
    params = load_params(reference / "params.yaml")
    audio, text = build_audio(params.features.audio, reference), build_text(params.features.text, reference)
    corpus = reference / params.corpus.path
    by_id = {u.id: u for u in utterances(corpus)}
    seen = []
    for name in SPLITS:
        split = FeatureSplit.load(reference / "data" / "features" / name)
        assert (split.split, split.specs) == (name, {"audio": audio.spec, "text": text.spec})
        assert split.label_set == params.corpus.label_set
        seen += split.ids
        for i, key in enumerate(split.ids):
            item, utterance = split.item(i), by_id[key]
            assert (utterance.split, utterance.speaker) == (name, split.speakers[i])
            assert split.label_set.names[item.label] == utterance.emotion
            assert (item.audio is None, item.text is None) == (utterance.audio is None, utterance.text is None)
            if utterance.audio:
                assert np.array_equal(item.audio, audio.encode([decode(corpus / utterance.audio)])[0])
            if utterance.text:
                np.testing.assert_allclose(item.text, text.encode([utterance.text])[0], atol=1e-5)
    assert sorted(seen) == sorted(by_id)


def test_encoders_in_a_list_fill_one_store_side_by_side(roberta: Path, tmp_path: Path) -> None:
    parts = ("{kind: logmel, n_mels: 20, hop_ms: 40.0}", "{kind: logmel, n_mels: 24, hop_ms: 10.0}")
    params = make_workspace(tmp_path, roberta, f"features.audio=[{', '.join(parts)}]")
    run(Workspace(tmp_path), params)
    audio, first = (build_audio(given, tmp_path) for given in (params.features.audio, params.features.audio[0]))
    corpus = tmp_path / params.corpus.path
    by_id = {u.id: u for u in utterances(corpus)}
    for name in SPLITS:
        split = FeatureSplit.load(tmp_path / "data" / "features" / name)
        assert split.specs["audio"] == audio.spec
        for i, key in enumerate(split.ids):
            if by_id[key].audio:
                wave = decode(corpus / by_id[key].audio)
                assert np.array_equal(split.item(i).audio, audio.encode([wave])[0])
                assert np.array_equal(split.item(i).audio[:, :25], first.encode([wave])[0])


def test_labels_start_from_their_descriptions(reference: Path) -> None:
    params = load_params(reference / "params.yaml")
    text = build_text(params.features.text, reference)
    for name in SPLITS:
        split = FeatureSplit.load(reference / "data" / "features" / name)
        assert split.label_text.shape == (4, 16)
        for row, label in zip(split.label_text, params.corpus.labels, strict=True):
            assert np.array_equal(row, text.encode([label.description])[0].mean(axis=0))


def test_no_scratch_and_no_path_is_left(reference: Path) -> None:
    assert not (reference / ".lsgmer" / "scratch" / "features").exists()
    assert sorted(p.name for p in (reference / "data" / "features").iterdir()) == sorted(SPLITS)
    assert not any(str(reference).encode() in data for data in content(reference).values())


def test_a_killed_stage_goes_on_and_ends_in_the_same_bytes(reference: Path, roberta: Path, tmp_path: Path) -> None:
    make_workspace(tmp_path, roberta)
    process = start(tmp_path)
    while len(shards(tmp_path)) < 5 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the stage ended before it could be killed"
    finished = shards(tmp_path)
    assert len(finished) >= 5
    for path in finished:
        (path.parent / ".leftover.npz.x").write_bytes(b"half")
    code, output = finish(start(tmp_path))
    assert code == 0, output
    assert "batches already done" in output
    assert content(tmp_path) == content(reference)
    assert not shards(tmp_path)


def test_finished_batches_are_not_encoded_again(roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_workspace(tmp_path, roberta)
    monkeypatch.setattr("lsgmer.stages.features.write_split", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(Workspace(tmp_path), params)
    before = {path: path.stat().st_mtime_ns for path in shards(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        run(Workspace(tmp_path), params)
    assert before == {path: path.stat().st_mtime_ns for path in shards(tmp_path)}
    other = load_params(tmp_path / "params.yaml", ["features.audio.n_mels=24"])
    with pytest.raises(KeyboardInterrupt):
        run(Workspace(tmp_path), other)
    folders = {path.parent.name for path in before}
    now = {path.parent.name for path in shards(tmp_path)}
    assert len(now) == 2, "what another encoder left stays in scratch"
    assert len(now & folders) == 1, "the text encoder's batches were still good"


@pytest.mark.parametrize("failing", [False, True])
def test_helpers_change_no_byte_and_one_that_dies_loses_nothing(
    reference: Path,
    roberta: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failing: bool,
) -> None:
    """Even where they are as slow to start as here; `failing` ones do not find the recordings."""
    params = make_workspace(tmp_path, roberta)
    monkeypatch.setattr(helpers, "TRIAL_S", 0.0)
    monkeypatch.setattr(helpers, "WORTH_S", 0.0)
    monkeypatch.setattr("lsgmer.features.extraction.encoding_processes", lambda threads: 2)
    absent = tmp_path / "absent"
    begin = helpers.Helpers._start_if_worth_it

    def begin_and_wait(self: helpers.Helpers) -> None:
        first = not self._processes
        if failing:
            monkeypatch.setattr(self, "_readings", replace(self._readings, corpus=absent))
        begin(self)
        deadline = time.monotonic() + 120
        while first and self._processes[0].is_alive() and not self._board.finished(10, 20):
            assert time.monotonic() < deadline, "the helper does nothing"
            time.sleep(0.01)

    monkeypatch.setattr(helpers.Helpers, "_start_if_worth_it", begin_and_wait)
    run(Workspace(tmp_path), params)
    said = capsys.readouterr().out
    assert "features: 2 processes encode" in said
    assert ("a helper ended with exit code 1: its batches are encoded here" in said) == failing
    assert content(tmp_path) == content(reference)


def test_equal_words_and_equal_recordings_are_encoded_once(roberta: Path, tmp_path: Path) -> None:
    params = make_workspace(tmp_path, roberta)
    corpus = tmp_path / params.corpus.path
    made = utterances(corpus)
    first = next(u for u in made if u.text and u.audio and u.split == "train")
    shutil.copyfile(corpus / str(first.audio), corpus / "copy.wav")
    twin = replace(first, id="zz", audio="copy.wav")
    validate(tmp_path, params, [*made, twin])
    manifest = ValidatedManifest.load(tmp_path / "data" / "validate")
    readings = Readings(params.features, FinetuneParams(), tmp_path, corpus, "cpu", manifest)
    for reader in readings.readers().values():
        assert reader.input(twin) == reader.input(first)
        plan = plan_batches({"train": [first, twin]}, reader.lengths, 16, 10**6, reader.input)
        assert (plan.batches["train"], plan.same["train"]) == ([[0]], {1: 0})
    run(Workspace(tmp_path), params)
    split = FeatureSplit.load(tmp_path / "data" / "features" / "train")
    one, other = (split.item(split.ids.index(name)) for name in (first.id, "zz"))
    assert np.array_equal(one.audio, other.audio)
    assert np.array_equal(one.text, other.text)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A workspace folder, `disk` in it a 200 KiB tmpfs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True) if shutil.which("mount") else None
    if mounted is None or mounted.returncode:
        pytest.skip(f"a full disk needs the right to mount a tmpfs: {mounted.stderr if mounted else 'no mount'}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(disk)], check=True)


def put_on_disk(workspace: Path, folder: str, disk: Path) -> None:
    (workspace / folder).parent.mkdir(parents=True, exist_ok=True)
    (workspace / folder).symlink_to(disk)


def test_a_full_disk_is_named_and_nothing_is_lost(reference: Path, roberta: Path, small_disk: Path) -> None:
    root, disk = small_disk / "workspace", small_disk / "disk"
    make_workspace(root, roberta)
    put_on_disk(root, ".lsgmer/scratch/features", disk)
    code, output = finish(start(root))
    assert code == 1
    assert "No space left on device" in output
    assert str(root / ".lsgmer" / "scratch" / "features") in output
    assert "The disk is full: free some space, then run the same command again" in output
    assert "Traceback" not in output
    assert len(shards(root)) > 3
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    code, output = finish(start(root))
    assert code == 0, output
    assert "batches already done" in output
    assert content(root) == content(reference)


def test_a_disk_that_is_full_at_the_end_costs_no_work(reference: Path, roberta: Path, small_disk: Path) -> None:
    root, disk = small_disk / "workspace", small_disk / "disk"
    params = make_workspace(root, roberta)
    put_on_disk(root, "data/features", disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*data/features/"):
        run(Workspace(root), params)
    assert not list(disk.glob(".*")), "a half-written store stays behind"
    assert len(shards(root)) > 30
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    run(Workspace(root), params)
    assert content(root) == content(reference)


def test_utterances_that_no_encoder_reads_are_an_error(roberta: Path, tmp_path: Path) -> None:
    params = make_workspace(tmp_path, roberta, "features.text.kind=none")
    with pytest.raises(LsgmerError, match=r"5 utterances have nothing .*'u06'"):
        run(Workspace(tmp_path), params)


def test_one_encoder_is_enough(roberta: Path, tmp_path: Path) -> None:
    params = make_workspace(tmp_path, roberta, "features.audio.kind=none")
    kept = [u for u in utterances(tmp_path / params.corpus.path) if u.text]
    validate(tmp_path, params, kept)
    run(Workspace(tmp_path), params)
    split = FeatureSplit.load(tmp_path / "data" / "features" / "test")
    assert split.specs["audio"] is None
    assert not split.has("audio").any()
    assert split.has("text").all()


def test_a_text_is_read_behind_what_its_dialogue_said_before(roberta: Path, tmp_path: Path) -> None:
    params = make_workspace(tmp_path, roberta, "features.audio.kind=none", "features.text.context=1")
    made = [replace(u, dialogue=f"d{i % 2}", turn=i) for i, u in enumerate(utterances(tmp_path / "c")) if u.text]
    validate(tmp_path, params, made)
    run(Workspace(tmp_path), params)
    text, by_id = build_text(params.features.text, tmp_path), {u.id: u for u in made}
    heard = 0
    for name in SPLITS:
        split = FeatureSplit.load(tmp_path / "data" / "features" / name)
        for i, key in enumerate(split.ids):
            own = by_id[key]
            earlier = [u for u in made if (u.split, u.dialogue) == (name, own.dialogue) and u.turn < own.turn]
            heard += bool(earlier)
            before = [Earlier(u.text, u.speaker == own.speaker) for u in earlier[-1:]]
            np.testing.assert_allclose(split.item(i).text, text.encode([own.text], [before])[0], atol=1e-5)
    assert heard > 10


def test_a_gpu_that_is_not_there_is_an_error(reference: Path) -> None:
    runtime = load_params(reference / "params.yaml", ["runtime.device=cuda"]).runtime
    if torch.cuda.is_available():
        assert str(choose_device(runtime.device)) == "cuda"
    else:
        with pytest.raises(LsgmerError, match="torch sees no GPU"):
            choose_device(runtime.device)


def test_texts_that_are_cut_are_counted_and_printed(
    reference: Path, roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = make_workspace(tmp_path, roberta, "features.text.max_tokens=5")
    run(Workspace(tmp_path), Needs.of(params))
    cut = 0
    for split in SPLITS:
        store = FeatureSplit.load(tmp_path / "data" / "features" / split)
        long = sum(text is not None and len(text.split()) > 3 for text in store.texts)  # start and end are tokens too
        assert store.counts.get("text_cut", 0) == long
        assert "text_cut" not in FeatureSplit.load(reference / "data" / "features" / split).counts
        cut += long
    assert cut
    assert f"{cut} texts are longer than features.text.max_tokens (5)" in capsys.readouterr().out


def test_only_the_training_split_has_perturbed_copies(reference: Path, roberta: Path, tmp_path: Path) -> None:
    run(Workspace(tmp_path), make_workspace(tmp_path, roberta, "features.augment=[gain_down_12_db, capitals]"))
    for split in ("valid", "test"):
        whole, plain = (FeatureSplit.load(root / "data" / "features" / split) for root in (tmp_path, reference))
        assert whole.ids == plain.ids
    train, plain = (FeatureSplit.load(root / "data" / "features" / "train") for root in (tmp_path, reference))
    copies = [name for name in train.ids if "~" in name]
    assert [name for name in train.ids if "~" not in name] == list(plain.ids)
    assert len(copies) == sum(plain.lengths("audio") > 0) + sum(plain.lengths("text") > 0)
    place = {name: i for i, name in enumerate(train.ids)}
    name = next(n for n in copies if n.endswith("~gain_down_12_db"))
    loud, quiet = train.item(place[name.partition("~")[0]]), train.item(place[name])
    assert quiet.label == loud.label
    assert quiet.audio is not None
    assert loud.audio is not None
    assert quiet.audio.shape == loud.audio.shape
    assert quiet.audio[:, :20].mean() < loud.audio[:, :20].mean() - 0.1, "log-mel power is lower"
    if loud.text is not None:
        np.testing.assert_allclose(quiet.text, loud.text, atol=1e-6)


def test_a_cluster_writes_the_same_bytes_also_when_a_worker_is_killed(
    reference: Path, tmp_path: Path, roberta: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed", reason="the extra lsgmer[cluster] is not installed")
    root = tmp_path / "workspace"
    killed: list[int] = []

    def kill() -> None:
        if wait_for(lambda: bool(shards(root)), 120):
            workers[0].kill()
            killed.append(len(shards(root)))

    with dask.cluster(2, tmp_path) as (address, workers):
        params = make_workspace(root, roberta, f"runtime.cluster={address}")
        killer = threading.Thread(target=kill)
        killer.start()
        run(Workspace(root), Needs.of(params))
        killer.join()
        assert workers[0].wait(10) == -signal.SIGKILL
    assert killed[0] < 31, "it was over before a worker was killed"
    assert "features: batches by worker: " in capfd.readouterr().out
    assert content(root) == content(reference)
