"""A parameter file says only what differs from params.yaml; everything else is the project's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.core.errors import ParamsError
from lsgmer.core.sections import overlay, read_yaml
from lsgmer.params import read_layers
from lsgmer.workspace.copies import effective

ROOT = Path(__file__).parents[1]
FULL_NEMO = ROOT / "tests" / "corpora" / "nemo_effective.yaml"  # the whole file, as it was before overlays

values = st.sampled_from([0, None, "text", {"more": 1}, ["a"]])
sections = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), values))


@given(base=sections, top=sections)
def test_each_key_is_the_tops_or_else_the_bases(base: dict[str, Any], top: dict[str, Any]) -> None:
    made = overlay(base, top)
    assert set(made) == {*base, *top}
    for name, section in made.items():
        below, above = base.get(name, {}), top.get(name, {})
        assert section == {key: above[key] if key in above else below[key] for key in {*below, *above}}
    assert overlay(made, top) == made
    assert overlay(base, {}) == base


def test_nemos_values_are_what_its_full_file_said() -> None:
    content, _ = effective(ROOT, ROOT / "params" / "nemo.yaml", [])
    for name, section in read_yaml(FULL_NEMO).items():
        assert {key: content[name].get(key) for key in section} == section, name


def test_a_value_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("corpus: {columns: {text: words, emotion: e, speaker: s}}\ntrain: {epochs: 3}\n")
    content, params = read_layers(ROOT / "params.yaml", file, ["train.patience=2"])
    assert content["corpus"]["columns"] == {"text": "words", "emotion": "e", "speaker": "s"}
    assert params.corpus.columns is not None
    assert (params.corpus.columns.audio, params.corpus.name) == (None, "sample")
    assert (params.train.epochs, params.train.patience) == (3, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 3}", r"mine.yaml: .*\n  train\.epoch: unknown key; did you mean epochs\?"),
        ("trian: {epochs: 3}", r"trian: unknown key; did you mean train\?"),
        ("train: 3", r"train: "),
        ("train:", r"train: "),
        ("- 1", "expected sections"),
    ],
)
def test_typos_are_still_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message):
        read_layers(ROOT / "params.yaml", tmp_path / "mine.yaml")
