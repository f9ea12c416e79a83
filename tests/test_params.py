"""A typo in params.yaml or an overlay is named with the allowed keys, and a leaky split is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from lsgmer.core.errors import ExitCode, ParamsError
from lsgmer.core.sections import override, read_yaml
from lsgmer.params import load_params, parse_params, read_layers

ROOT = Path(__file__).parents[1]
FILE = ROOT / "params.yaml"


@pytest.mark.parametrize("file", sorted([FILE, *ROOT.glob("params/*.yaml")]), ids=lambda file: file.name)
def test_every_params_file_in_the_project_is_valid(file):
    assert read_layers(FILE, file)[1].corpus.labels


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.epoch=3", r"train\.epoch: unknown key; did you mean epochs\? \(allowed: .*batch_size.*\)"),
        ("trian.epochs=3", r"trian: unknown key; did you mean train\?"),
        ("train.epochs=many", r"train\.epochs: .*integer"),
        ("train.epochs=3.5", r"train\.epochs"),
        ("train.epochs=true", r"train\.epochs"),
        ("gate.min_class_recall=2", r"gate\.min_class_recall: .*less than or equal to 1"),
        ("corpus.name=iemocapp", r"corpus\.name: .*'sample'"),
        ("model.heads=5", r"heads \(5\) must divide width"),
        ("sample.shares={congruent: 0.5}", r"shares add up"),
        ("corpus.label_map={ang: angre}", r"label_map maps to labels that are not in"),
        ("corpus.synthesize=[]", r"synthesize must be \[sample\]"),
        ("corpus.table=null", r"corpus: .*corpus sample is a table: name it in table"),
        ("corpus.columns.emotoin=e", r"corpus\.columns\.emotoin: unknown key; did you mean emotion\?"),
        ("corpus.clips=wav", r"clips \(none, wav or mp4\) must be set for meld, and for no other corpus"),
        ("corpus.by_plurality={a: b}", r"by_plurality is for iemocap only"),
        ("manifest.split=official", r"official is for corpora that publish a partition \(meld\), not for sample"),
        ("manifest.split=speakers", r"manifest\.split: .*'given', 'speaker', 'session' or 'official'"),
        ("features.audio.kind=none", None),
    ],
)
def test_overrides_are_checked_and_named(item, message):
    if message is None:
        assert load_params(FILE, [item]).features.audio.kind == "none"
        return
    with pytest.raises(ParamsError, match=message):
        load_params(FILE, [item])


@pytest.mark.parametrize("name", ["random", "utterance", "random_utterance", "Random-Utterances"])
@pytest.mark.parametrize("file", [None, ROOT / "params" / "meld.yaml", ROOT / "params" / "iemocap4.yaml"])
def test_a_random_split_by_utterance_is_refused_with_reason_and_remedy(name, file):
    with pytest.raises(ParamsError) as caught:
        read_layers(FILE, file, [f"manifest.split={name}"])
    assert caught.value.exit_code == ExitCode.USAGE
    assert "(got 'random" in str(caught.value).lower() or "(got 'utterance" in str(caught.value)
    for said in (
        "manifest.split: ",
        "the same speakers on both sides",
        "about 12 points of accuracy on IEMOCAP",
        "no stage of the pipeline offers it",
        "set manifest.split to speaker or session",
        "protocol: {kind: leaky_random_utterances}",
        "experiments/params.yaml",
        "marked LEAKY",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("file", "item", "message"),
    [
        (
            "iemocap4",
            "corpus.table=t.csv",
            r"corpus iemocap has its own layout: set table: null and columns: null",
        ),
        ("meld", "manifest.split=speaker", r"speaker would leak in meld, whose joint speakers .*split to official"),
        ("iemocap4", "manifest.split=official", r"partition \(meld\), not for iemocap"),
        ("emodb", "corpus.clips=none", r"clips .* must be set for meld"),
    ],
)
def test_what_a_corpus_does_not_have_is_refused(file, item, message):
    with pytest.raises(ParamsError, match=message):
        read_layers(FILE, ROOT / "params" / f"{file}.yaml", [item])


def test_all_problems_are_reported_at_once():
    with pytest.raises(ParamsError, match="2 problem") as caught:
        load_params(FILE, ["train.epoch=3", "model.widht=3"])
    assert "train.epoch" in str(caught.value)
    assert "model.widht" in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


def test_nothing_to_learn_from():
    with pytest.raises(ParamsError, match="nothing to learn from"):
        load_params(FILE, ["features.audio.kind=none", "features.text.kind=none"])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ("[]", r"features\.audio: the list has no encoder; .*\{kind: none\}"),
        ("[{kind: logmel}, {kind: none}]", r"features\.audio: an encoder of kind none cannot be in a list"),
        ("[{kind: precomputed, source: x.npz}]", r"features\.audio: an encoder of kind precomputed cannot be"),
        (
            "[{kind: logmel}, {kind: logmel, hop: 9}]",
            r"features\.audio\.1\.hop: unknown key; .*hop_ms\? \(allowed: hop",
        ),
        ("[{kind: logmell}]", r"features\.audio\.0\.kind: .*'logmel'"),
        ("[[{kind: logmel}]]", r"features\.audio\.0: "),
        ("{kind: logmel, hop: 9}", r"features\.audio\.hop: unknown key; .*hop_ms\? \(allowed: hop"),
        ("logmel", r"features\.audio: .*\(got 'logmel'\)"),
    ],
)
def test_audio_is_one_encoder_or_a_list_of_those_that_can_run_side_by_side(audio, message):
    with pytest.raises(ParamsError, match=message) as caught:
        load_params(FILE, [f"features.audio={audio}"])
    assert "1 problem" in str(caught.value)
    kinds = [part.kind for part in load_params(FILE, ["features.audio=[{kind: logmel}]"]).features.audio]
    assert kinds == ["logmel"]


def test_numbers_are_yaml_1_2_as_dvc_reads_them():
    assert load_params(FILE, ["train.learning_rate=1e-4"]).train.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        ((), 30),
        (("train.finetune={text: all}",), 5),
        (("train.finetune={audio: last_2}",), 5),
        (("train.finetune={text: none}",), 30),
        (("train.finetune={text: all}", "train.epochs=9"), 9),
    ],
)
def test_auto_epochs_are_few_where_layers_learn(overrides, epochs):
    assert parse_params(override(read_yaml(FILE), overrides), "params.yaml").train.epochs == epochs


@pytest.mark.parametrize("item", ["train.epochs", "=3", "train.epochs.more=3", "train.epochs=[1"])
def test_malformed_overrides(item):
    with pytest.raises(ParamsError, match="--set"):
        override(read_yaml(FILE), [item])


def test_unreadable_files(tmp_path):
    with pytest.raises(ParamsError, match="no such file"):
        load_params(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ParamsError, match="not readable as YAML"):
        load_params(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ParamsError, match="expected sections"):
        load_params(tmp_path / "list.yaml")


def test_missing_keys_are_named():
    content = read_yaml(FILE)
    del content["train"]["epochs"]
    with pytest.raises(ParamsError, match=r"train\.epochs: missing"):
        parse_params(content, "params.yaml")


def test_params_are_frozen():
    with pytest.raises(ValidationError):
        load_params(FILE).train.epochs = 5


def test_params_import_nothing_heavy():
    code = "import lsgmer.params, sys; print([m for m in ('torch', 'pandas', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
