"""Sections of params.yaml as strict frozen models, and the plain values they are read from. A typo names the key."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lsgmer.core.errors import ParamsError

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RuntimeParams(Section):
    """Seed, threads and device: what else decides the bits of a result."""

    seed: NonNegativeInt
    threads: PositiveInt
    device: Literal["auto", "cpu", "cuda"]
    mixed_precision: Literal["no", "fp16", "bf16"]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read `path` as YAML 1.2, the dialect DVC uses. Raises ParamsError that names the file and line."""
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: no such file; give a parameter file with --params") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected sections (runtime:, corpus:, ...), found {type(content).__name__}")
    return content


def lookup(content: Any, key: str) -> Any:
    """Return the value at "section.key" of nested `content`, None where there is none."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def override(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `content` with each "section.key=value" set; values are YAML. Unknown keys fail on parsing."""
    result: dict[str, Any] = json.loads(json.dumps(content))
    for item in overrides:
        key, equals, raw = item.partition("=")
        if not equals or not key:
            raise ParamsError(f"--set {item}: expected section.key=value, as in --set train.epochs=3")
        *parents, last = key.split(".")
        target: Any = result
        for parent in parents:
            target = target.setdefault(parent, {}) if isinstance(target, dict) else None
            if not isinstance(target, dict):
                raise ParamsError(f"--set {item}: {parent} is not a section")
        try:
            target[last] = YAML(typ="safe", pure=True).load(raw)
        except YAMLError as error:
            raise ParamsError(f"--set {item}: the value is not YAML: {error}") from error
    return result


def explain(item: Any, model: type[BaseModel]) -> str:
    """Turn one pydantic error about `model` into a line that names the key and what is allowed."""
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        allowed = _allowed_keys(location[:-1], model)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{key}: unknown key{hint} (allowed: {', '.join(allowed)})"
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    got = "" if isinstance(item["input"], dict) else f" (got {item['input']!r:.80})"  # a whole section says nothing
    return f"{key or 'params'}: {message}{got}"


def _allowed_keys(location: Sequence[str], model: Any) -> list[str]:
    """Return the keys that the section of `model` at `location` knows; a mapping's own keys are free names."""
    for part in location:
        if get_origin(model) is dict:
            model = get_args(model)[1]
            continue
        known = {info.alias or name: info.annotation for name, info in getattr(model, "model_fields", {}).items()}
        kind = known.get(part)
        kinds = [kind for kind in get_args(kind) if kind is not type(None)]  # of X | None
        model = kinds[0] if len(kinds) == 1 else kind
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return sorted(info.alias or name for name, info in model.model_fields.items())


def overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with every key of every section of `top` in place of its own.

    A key's value is replaced whole, never merged: `corpus.label_map` of `top` is all of the label map, so that
    no leftover of another corpus stays in it. Neither argument is changed; unknown keys fail on parsing.
    """
    result = {name: dict(section) if isinstance(section, dict) else section for name, section in base.items()}
    for name, section in top.items():
        below = result.get(name)
        result[name] = {**below, **section} if isinstance(below, dict) and isinstance(section, dict) else section
    return result
