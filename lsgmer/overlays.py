"""Parameter files that say only what differs: laid over the project's params.yaml, section by section, key by key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsgmer.params import Params, override, parse_params, read_yaml


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


def read_layers(base: Path, file: Path | None, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Params]:
    """Return the parameters of `base`, `file` over it, and `overrides` over both: as plain values and checked.

    Raises ParamsError for an unreadable file and for every bad key, with the allowed ones.
    """
    content = read_yaml(base)
    if file is not None:
        content = overlay(content, read_yaml(file))
    content = override(content, overrides)
    return content, parse_params(content, str(file or base))
