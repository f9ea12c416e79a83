"""Words that are missing are transcribed before features are made; true words stay, and automatic ones are marked."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile
import torch

from lsgmer.audio import Waveform, decode
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SPLITS, TranscriberSpec, read_record
from lsgmer.encoders.moonshine import NEEDS
from lsgmer.encoders.params import TranscribeParams
from lsgmer.encoders.weights import package_file
from lsgmer.evaluation.measure import automatic_words, with_words
from lsgmer.experiments.resplit import join, select
from lsgmer.features.automatic import transcribe_missing
from lsgmer.features.store import FeatureSplit
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.model.train_card import TrainCard
from lsgmer.params import Params, load_params
from lsgmer.speech.transcribe import build_transcriber
from lsgmer.speech.transcript import Transcript
from lsgmer.stages import train
from lsgmer.stages.features import Needs, run
from lsgmer.training.params import TrainingSections
from tests.stages.test_features import content, make_workspace, utterances, validate
from tests.support.tiny import save_roberta

installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDS), reason="the extra `moonshine` is not installed: no wheel here"
)
ASKED = "features.text.transcribe={kind: moonshine}"
HEARD = "ever tried"  # how the recording below begins


SPEC = TranscriberSpec(kind="counting", min_log_probability=-1, doubt=1, files={}, versions={})


class Counting:
    """A transcriber that hears how long the audio is, nothing in short ones, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.spec = SPEC

    def transcribe(self, wave: Waveform) -> Transcript:
        self.asked += 1
        if wave.duration_s < 0.6:
            return Transcript(text="", reason="too short")
        return Transcript(text=f"{len(wave.samples)} samples", mean_log_probability=-0.1)


def corpus(folder: Path) -> list[Utterance]:
    """Tones, of which two without words of each split are replaced by a recording of English."""
    made, (samples, rate) = (
        utterances(folder),
        soundfile.read(package_file("package:moonshine_voice/assets/beckett.wav")),
    )
    soundfile.write(folder / "audio" / "spoken.wav", samples[: 3 * rate], rate)
    silent = [u.id for split in SPLITS for u in [u for u in made if u.split == split and not u.text][:1]]
    return [replace(u, audio="audio/spoken.wav") if u.id in silent else u for u in made]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roberta(tmp_path_factory.mktemp("roberta"))


@pytest.fixture(scope="module")
def transcribed(tmp_path_factory: pytest.TempPathFactory, roberta: Path) -> Path:
    """A workspace whose features were made with Moonshine's words."""
    root = tmp_path_factory.mktemp("transcribed")
    torch.set_num_threads(1)
    params = make_workspace(root, roberta, ASKED)
    validate(root, params, corpus(root / params.corpus.path))
    run(Workspace(root), Needs.of(params))
    return root


def splits(root: Path) -> dict[str, FeatureSplit]:
    return {name: FeatureSplit.load(root / "data" / "features" / name) for name in SPLITS}


@installed
def test_words_are_filled_in_where_they_are_missing_and_nowhere_else(transcribed: Path) -> None:
    manifest = ValidatedManifest.load(transcribed / "data" / "validate")
    given = {u.id: u for u in manifest.utterances}
    for part in splits(transcribed).values():
        assert len(part.automatic) == len(part)
        assert sum(part.automatic) == part.counts["transcribed"] == 1
        lacking = [name for name in part.ids if given[name].audio and not given[name].text]
        assert part.counts["not_transcribed"] == len(lacking) - 1 > 0
        for i, name in enumerate(part.ids):
            if part.automatic[i]:
                assert given[name].audio == "audio/spoken.wav"
                assert str(part.texts[i]).lower().replace(",", "").startswith(HEARD)
            else:
                assert part.texts[i] == given[name].text
            assert part.has("text")[i] == bool(part.texts[i])


@installed
def test_the_train_card_and_the_report_count_them(transcribed: Path) -> None:
    workspace = Workspace(transcribed)
    small = load_params(workspace.params, ["train.epochs=1", "model.width=8", "model.heads=1"])
    train.run(workspace, TrainingSections.of(small))
    card = read_record(workspace.data("train") / "card.json", TrainCard, "")
    assert card.transcribed == {"train": 1, "valid": 1}
    assert card.transcriber == build_transcriber(TranscribeParams(kind="moonshine"), transcribed).spec
    test = splits(transcribed)["test"]
    (note,) = automatic_words(test, card)
    assert f"the words of 1 of {len(test)} test utterances are automatic (moonshine)" in note
    filled = with_words(ValidatedManifest.load(workspace.data("validate")), test)
    assert {u.id: u.text for u in filled.utterances if u.split == "test"} == dict(
        zip(test.ids, test.texts, strict=True)
    )


@installed
def test_the_marks_follow_the_rows_when_they_are_split_again(transcribed: Path) -> None:
    parts = splits(transcribed)
    whole = join([parts["train"], parts["valid"]])
    marked = {name for name, automatic in zip(whole.ids, whole.automatic, strict=True) if automatic}
    assert len(marked) == 2
    last = select(whole, range(len(whole))[::-1], "train")
    assert {name for name, automatic in zip(last.ids, last.automatic, strict=True) if automatic} == marked


def test_without_it_the_store_has_no_marks(tmp_path: Path, roberta: Path) -> None:
    params: Params = make_workspace(tmp_path, roberta)
    run(Workspace(tmp_path), Needs.of(params))
    part = splits(tmp_path)["train"]
    assert (part.automatic, part.transcriber) == ((), None)
    assert "transcribed" not in part.counts
    assert b"automatic" not in content(tmp_path)["train/index.parquet"]


def test_equal_audio_is_transcribed_once_and_a_killed_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    made = utterances(tmp_path)
    lacking = [u for u in made if u.audio and not u.text]
    twins = [replace(u, id=f"{u.id}-twin") for u in lacking]
    rows = [*made, *twins]
    whole = Counting()
    expected = transcribe_missing(rows, whole, tmp_path, tmp_path / "a")
    assert whole.asked == len(lacking)
    assert expected.ids | set(expected.refused) == {u.id for u in (*lacking, *twins)}
    assert all(expected.refused)
    by_id = {u.id: u for u in expected.utterances}
    for u in lacking:
        samples = len(decode(tmp_path / str(u.audio)).samples)
        assert (
            by_id[u.id].text == by_id[f"{u.id}-twin"].text == (f"{samples} samples" if u.id in expected.ids else u.text)
        )
    assert [u for u in expected.utterances if u.text and u.id not in expected.ids] == [u for u in made if u.text]
    (file,) = (tmp_path / "a").glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / file.name).write_bytes(b"".join(lines[:3]) + lines[3][:20])  # killed while writing a line
    rest = Counting()
    assert transcribe_missing(rows, rest, tmp_path, tmp_path / "b") == expected
    assert rest.asked == len(lacking) - 3
    assert f"resuming: 3 of {2 * len(lacking)} already done" in capsys.readouterr().out
    again = Counting()
    assert transcribe_missing(rows, again, tmp_path, tmp_path / "b") == expected
    assert again.asked == 0
    marks = expected.marks([u.id for u in rows])
    assert marks is not None
    assert (sum(marks.rows), marks.refused) == (len(expected.ids), len(expected.refused))
