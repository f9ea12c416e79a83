"""A stage reads the sections that it names, in whole or in part, and nothing else of params.yaml can stop it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from lsgmer.core.errors import ParamsError
from lsgmer.core.sections import Part, Section, Sections, merge_layers, override, read_sections, read_yaml
from lsgmer.params import load_params
from lsgmer.validation.params import ValidationSections

ROOT = Path(__file__).parents[2]


class Narrow(Section):
    size: int
    colour: str = "red"


class Wide(Narrow):
    weight: float


class Needs(Sections):
    shape: Part[Narrow]
    validate_: Annotated[Wide, Field(alias="validate")]


CONTENT = "shape: {size: 1, weight: 2.0, later: x}\nvalidate: {size: 3, weight: 4.0}\nother: [1, 2]\n"


def written(tmp_path, text=CONTENT):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_keys_are_sections_or_the_keys_of_a_part():
    assert Needs.keys() == ("shape.size", "shape.colour", "validate")


def test_what_is_not_named_is_not_looked_at(tmp_path):
    read = read_sections(written(tmp_path), Needs)
    assert (read.shape.size, read.shape.colour, read.validate_.weight) == (1, "red", 4.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CONTENT.replace("size: 3", "sise: 3"), "validate.sise: unknown key; did you mean size"),
        (CONTENT.replace("size: 1, ", ""), "shape.size: missing"),
        (CONTENT.replace("shape:", "shapes:"), "shape: missing"),
        ("shape: 3\nvalidate: {size: 3, weight: 4.0}\n", "shape: "),
    ],
)
def test_what_is_named_is_checked(tmp_path, text, message):
    with pytest.raises(ParamsError, match=message):
        read_sections(written(tmp_path, text), Needs)


def test_a_stage_takes_its_sections_out_of_all_of_them():
    params = load_params(ROOT / "params.yaml")
    assert ValidationSections.of(params).corpus.label_set == params.corpus.label_set
    assert ValidationSections.of(params).validate_ == params.validate_


def test_layers_replace_key_by_key(tmp_path):
    top = tmp_path / "top.yaml"
    top.write_text("shape: {size: 9}\n")
    content = merge_layers(written(tmp_path), top, ["validate.weight=0.5"])
    assert content["shape"] == {"size": 9, "weight": 2.0, "later": "x"}
    assert content["validate"] == {"size": 3, "weight": 0.5}


@pytest.mark.parametrize(
    ("written_as", "read_as"), [("01", "1"), ("08", "8"), ("0x1F", "31"), ("True", "true"), ("~", "null")]
)
def test_a_key_that_yaml_reads_as_something_else_must_be_quoted(tmp_path, written_as, read_as):
    message = rf'the key {written_as} is read as {read_as}; quote it: "{written_as}"'
    with pytest.raises(ParamsError, match=rf"params\.yaml: 1 problem\(s\)\n  line 3: {message}"):
        read_yaml(written(tmp_path, f"shape:\n  codes:\n    - {{{written_as}: neutral, b: 1}}\n"))
    with pytest.raises(ParamsError, match=message):
        override({}, [f"corpus.label_map={{{written_as}: neutral}}"])
    quoted = read_yaml(written(tmp_path, f'codes: {{"{written_as}": neutral}}'))
    assert quoted == {"codes": {written_as: "neutral"}}


def test_keys_that_are_what_is_written_need_no_quotes(tmp_path):
    assert read_yaml(written(tmp_path, "a: {1: x, 2.5: y, yes: z}")) == {"a": {1: "x", 2.5: "y", "yes": "z"}}
