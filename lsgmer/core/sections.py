"""Sections of params.yaml as strict frozen models, and the plain values they are read from. Errors name the key."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    ValidationError,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lsgmer.core.errors import ParamsError

Share = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T")
PART = "part"
UNWATCHED = "unwatched"  # marks a key that changes no result, such as where the work runs: DVC does not watch it
AS_WRITTEN = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")  # tags of keys that are text, or no key at all
CHOICE = "<"  # starts the tags of a choice between forms of one key; pydantic puts them into an error's location
Part = Annotated[T, PART]


class Section(BaseModel):
    """A section of params.yaml: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


S = TypeVar("S", bound=Section)


class Sections(Section):
    """The sections of params.yaml that a stage reads, and no others. `Part[...]` marks one read only in part."""

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Return what is read, as `params:` in dvc.yaml lists it: "section", or "section.key" for part of one."""
        found: list[str] = []
        for name, (kind, is_part) in cls._kinds().items():
            watched = [key for key, info in kind.model_fields.items() if UNWATCHED not in info.metadata]
            found += [f"{name}.{kind.model_fields[key].alias or key}" for key in watched] if is_part else [name]
        return tuple(found)

    @classmethod
    def pick(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Return the values of `content` that are read, ignoring everything else in it."""
        picked: dict[str, Any] = {}
        for name, (kind, is_part) in cls._kinds().items():
            if name in content:
                section = content[name]
                known = {info.alias or key for key, info in kind.model_fields.items()}
                partly = is_part and isinstance(section, dict)
                picked[name] = {key: value for key, value in section.items() if key in known} if partly else section
        return picked

    @classmethod
    def of(cls, params: Sections) -> Self:
        """Return these sections taken from `params`, which has all of them, each with at least these keys."""
        fields = cls.model_fields.items()
        return cls.model_validate({info.alias or name: getattr(params, name) for name, info in fields})

    def sections(self, *names: str) -> dict[str, Any]:
        """Return the named sections as plain JSON values, as a card stores them: without keys that change no result."""
        values, kinds = self.model_dump(mode="json", by_alias=True), self._kinds()
        unwatched = {
            name: {info.alias or key for key, info in kinds[name][0].model_fields.items() if UNWATCHED in info.metadata}
            for name in names
        }
        return {
            name: {key: value for key, value in values[name].items() if key not in unwatched[name]} for name in names
        }

    @classmethod
    def _kinds(cls) -> dict[str, tuple[type[Section], bool]]:
        """Return, by the name in the file, each section's model and whether it is only a part."""
        fields = cls.model_fields.items()
        return {
            info.alias or name: (cast(type[Section], info.annotation), PART in info.metadata) for name, info in fields
        }


G = TypeVar("G", bound=Sections)


class ComputeParams(Section):
    """How many threads and which device."""

    threads: PositiveInt
    device: Literal["auto", "cpu", "cuda"]


class SeededParams(ComputeParams):
    """Threads, device and the seed of everything drawn at random."""

    seed: NonNegativeInt


class RuntimeParams(SeededParams):
    """Seed, threads, device, precision and the number of training processes: all that can change a result's bits."""

    mixed_precision: Literal["no", "fp16", "bf16"]
    processes: PositiveInt = 1


class CorpusFolder(Section):
    """Where the corpus is: audio paths in the manifest are relative to it."""

    path: str


def parse(content: dict[str, Any], kind: type[S], source: str) -> S:
    """Check `content` against `kind`. Raises ParamsError listing every bad key of `source`, with the allowed ones."""
    try:
        return kind.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        lines = [explain(item, kind) for item in error.errors()]
        raise ParamsError(
            f"{source}: " + "\n".join([f"{len(lines)} problem(s)", *(f"  {line}" for line in lines)])
        ) from None


def read_sections(path: Path, kind: type[G]) -> G:
    """Read from `path` the sections that `kind` names, and check those alone. Raises ParamsError."""
    return parse(kind.pick(read_yaml(path)), kind, str(path))


def merge_layers(base: Path, file: Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the plain values of `base`, overlaid with `file` and then with `overrides` ("section.key=value").

    Raises ParamsError for an unreadable file; keys are checked when the result is parsed.
    """
    content = read_yaml(base)
    if file is not None:
        content = overlay(content, read_yaml(file))
    return override(content, overrides)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read `path` as YAML 1.2, the dialect DVC uses. Raises ParamsError that names the file and line."""
    try:
        content = _load(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: no such file; give a parameter file with --params") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected sections (runtime:, corpus:, ...), found {type(content).__name__}")
    return content


def _load(text: str, source: str) -> Any:
    """Return YAML `text` as plain values. Raises YAMLError, and ParamsError for keys that are not what is written.

    YAML reads the key 01 as the number 1, which would then match no code 01 of a corpus.
    """
    yaml = YAML(typ="safe", pure=True)
    lines = [
        f'line {node.start_mark.line + 1}: the key {node.value} is read as {read}; quote it: "{node.value}"'
        for node in _keys(yaml.compose(text))
        if (read := _key(yaml.load(node.value))) != node.value
    ]
    if lines:
        raise ParamsError(f"{source}: " + "\n".join([f"{len(lines)} problem(s)", *(f"  {line}" for line in lines)]))
    return yaml.load(text)


def _key(value: Any) -> str:
    """Return what the key `value` is where every key is text."""
    return value.isoformat() if isinstance(value, date) else next(iter(json.loads(json.dumps({value: None}))))


def _keys(node: Node | None) -> Iterator[ScalarNode]:
    """Yield the unquoted scalar keys of all mappings that `node` holds which YAML does not read as text."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.tag not in AS_WRITTEN:
                yield key
            yield from _keys(value)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _keys(value)


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
            target[last] = _load(raw, f"--set {item}")
        except YAMLError as error:
            raise ParamsError(f"--set {item}: the value is not YAML: {error}") from error
    return result


def explain(item: Any, model: type[BaseModel]) -> str:
    """Turn one pydantic error about `model` into a line that names the key and what is allowed."""
    location = [str(part) for part in item["loc"]]
    key = ".".join(part for part in location if not part.startswith(CHOICE))
    if item["type"] == "extra_forbidden":
        allowed = _allowed_keys(location[:-1], model)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{key}: unknown key{hint} (allowed: {', '.join(allowed)})"
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    got = "" if isinstance(item["input"], dict) else f" (got {item['input']!r:.80})"  # a whole section would not help
    return f"{key or 'params'}: {message}{got}"


def _allowed_keys(location: Sequence[str], model: Any) -> list[str]:
    """Return the keys that `model` allows at `location`; the keys of a mapping can be any names."""
    for part in location:
        if part.startswith(CHOICE):
            model = next(kind for kind, *tags in map(get_args, get_args(model)) if Tag(part) in tags)
            continue
        if (origin := get_origin(model)) in (dict, tuple):
            model = get_args(model)[1 if origin is dict else 0]
            continue
        known = {info.alias or name: info.annotation for name, info in getattr(model, "model_fields", {}).items()}
        kind = known.get(part)
        kinds = [kind for kind in get_args(kind) if kind is not type(None)]  # of X | None
        model = kinds[0] if len(kinds) == 1 else kind
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return sorted(info.alias or name for name, info in model.model_fields.items())


def overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with every key that `top` sets, section by section, replaced by its value.

    A value is replaced whole, never merged: `corpus.label_map` in `top` becomes the whole label map, so that
    nothing of another corpus's map is left in it. Neither argument is changed; unknown keys fail on parsing.
    """
    result = {name: dict(section) if isinstance(section, dict) else section for name, section in base.items()}
    for name, section in top.items():
        below = result.get(name)
        result[name] = {**below, **section} if isinstance(below, dict) and isinstance(section, dict) else section
    return result


def rebase(content: dict[str, Any], root: Path, folder: Path) -> dict[str, Any]:
    """Return `content` with paths that are relative to `root` rewritten relative to `folder`.

    These are the encoders' folders and the corpus folder, unless the workspace itself makes the corpus
    (data/raw/NAME of a synthesized corpus). Hub ids, packages and absolute paths are left unchanged.
    """
    result = {name: dict(section) if isinstance(section, dict) else section for name, section in content.items()}
    corpus = result["corpus"]
    if not Path(corpus["path"]).is_absolute() and not (corpus["synthesize"] and corpus["path"].startswith("data/raw/")):
        corpus["path"] = _relative(root / corpus["path"], folder)
    for modality in ("audio", "text"):
        given = result["features"][modality]
        several = isinstance(given, list)
        moved = [_rebase_encoder(encoder, root, folder) for encoder in (given if several else [given])]
        result["features"][modality] = moved if several else moved[0]
    return result


def _rebase_encoder(encoder: dict[str, Any], root: Path, folder: Path) -> dict[str, Any]:
    source = encoder.get("source")
    if source and not source.startswith("package:") and not Path(source).is_absolute() and (root / source).is_dir():
        return {**encoder, "source": _relative(root / source, folder)}
    return dict(encoder)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder)).as_posix()
