"""The champion: a pointer to the Bento that is served, moved atomically and last of all, and a log of its moves.

Works on folders under .bentoml/bentos/NAME/VERSION and knows nothing of BentoML.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import Record, first_problem, read_record
from lsgmer.registry.layout import MODEL_CARD, MODEL_TRAIN_CARD, MODEL_WEIGHTS
from lsgmer.registry.model_card import Forced

SOURCE = "src"
REMEDY = "see `lsgmer champions`, go back to an older one with `lsgmer champions --back`, or restore the folder"


class Champion(Record):
    """champion.json: the tag NAME:VERSION that is served, and the sha256 of its weights and of its model card."""

    tag: str
    weights_sha256: str
    card_sha256: str
    promoted_at: str
    forced: Forced | None = None


class Promotion(Record):
    """One line of promotions.jsonl. `previous` is the tag served before; a forced promotion says who and why."""

    at: str
    tag: str
    previous: str | None
    weights_sha256: str
    way: str = "promote"  # promote or back
    forced: Forced | None = None


def read(workspace: Workspace) -> Champion | None:
    """Return the champion, or None before the first promotion. Raises LsgmerError for an unreadable pointer."""
    if not workspace.champion.is_file():
        return None
    return read_record(workspace.champion, Champion, "promote a model again")


def history(workspace: Workspace) -> tuple[Promotion, ...]:
    """Return every move of the pointer, oldest first. Raises LsgmerError that names an unreadable line."""
    path = log_path(workspace)
    if not path.is_file():
        return ()
    moves = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            moves.append(Promotion.model_validate_json(line))
        except ValidationError as error:
            raise LsgmerError(
                f"{path}, line {number}: not a promotion: {first_problem(error)}; fix or remove the line"
            ) from None
    return tuple(moves)


def bentos(workspace: Workspace) -> tuple[str, ...]:
    """Return the tags NAME:VERSION in the local store that hold a model, sorted."""
    found = (workspace.bentos / "bentos").glob(f"*/*/{SOURCE}/{MODEL_WEIGHTS}")
    return tuple(sorted(f"{path.parents[3].name}:{path.parents[2].name}" for path in found))


def bento_folder(workspace: Workspace, tag: str) -> Path:
    """Return where the local store keeps the Bento `tag`. Raises LsgmerError for anything else than a tag."""
    name, colon, version = tag.partition(":")
    if not colon or not name or not version or {"/", "\\"} & set(tag) or ".." in (name, version):
        raise LsgmerError(f"{tag!r}: not a tag; write NAME:VERSION, as `lsgmer champions` lists them")
    return workspace.bentos / "bentos" / name / version


def bento_source(workspace: Workspace, tag: str) -> Path:
    """Return the folder with the Bento's model, records and code. Raises LsgmerError when it is absent."""
    folder = bento_folder(workspace, tag) / SOURCE
    if not folder.is_dir():
        raise LsgmerError(f"{tag}: no such Bento in {workspace.bentos}; {REMEDY}")
    return folder


def verified_source(workspace: Workspace, champion: Champion) -> Path:
    """Return the champion's folder after checking weights and card. Raises LsgmerError on any difference."""
    folder = bento_source(workspace, champion.tag)
    for name, expected in ((MODEL_WEIGHTS, champion.weights_sha256), (MODEL_CARD, champion.card_sha256)):
        found = _sha256(folder / name)
        if found != expected:
            raise LsgmerError(f"{folder / name}: sha256 is {found}, the pointer says {expected}; {REMEDY}")
    return folder


def promote(workspace: Workspace, tag: str | None = None, forced: Forced | None = None) -> Champion:
    """Make `tag` (default: the packaged model) the champion: log the move, then move the pointer, atomically.

    Promoting the current champion again changes nothing. The caller checks the gate; a promotion that overrides it
    passes `forced`. Raises LsgmerError when the Bento is missing or its weights do not match its card.
    """
    with _lock(workspace):
        return _move(workspace, tag or _packaged(workspace), "promote", forced)


def go_back(workspace: Workspace, tag: str | None = None) -> Champion:
    """Make `tag` the champion again, or without a tag the model that was champion before the current one.

    Raises LsgmerError when there was none before, `tag` was never champion, or its Bento is missing or changed.
    """
    with _lock(workspace):
        moves, current = history(workspace), read(workspace)
        if tag is None:
            tag = _before(moves, current)
        elif tag not in {move.tag for move in moves}:
            served = ", ".join(sorted({move.tag for move in moves})) or "none"
            raise LsgmerError(f"{tag}: was never champion (served so far: {served}); promote it instead")
        return _move(workspace, tag, "back", None)


def log_path(workspace: Workspace) -> Path:
    """Return the log of promotions."""
    return workspace.state / "promotions.jsonl"


def _before(moves: tuple[Promotion, ...], current: Champion | None) -> str:
    if current is None:
        raise LsgmerError("there is no champion to go back from; `lsgmer run` makes and promotes one")
    arrivals = [move for move in moves if move.tag == current.tag and move.way == "promote"]
    if not arrivals or arrivals[-1].previous is None:
        raise LsgmerError(
            f"{current.tag}: no champion before it; name the tag to go to (`lsgmer champions` lists them)"
        )
    return arrivals[-1].previous


def _move(workspace: Workspace, tag: str, way: str, forced: Forced | None) -> Champion:
    folder, current = bento_source(workspace, tag), read(workspace)
    weights, recorded = _sha256(folder / MODEL_WEIGHTS), _recorded_weights(folder / MODEL_TRAIN_CARD)
    if weights != recorded:
        raise LsgmerError(f"{folder / MODEL_WEIGHTS}: sha256 is {weights}, its card says {recorded}; {REMEDY}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    champion = Champion(
        tag=tag, weights_sha256=weights, card_sha256=_sha256(folder / MODEL_CARD), promoted_at=now, forced=forced
    )
    if current and (current.tag, current.weights_sha256, current.card_sha256) == (tag, weights, champion.card_sha256):
        return current
    previous = current.tag if current else None
    move = Promotion(at=now, tag=tag, previous=previous, weights_sha256=weights, way=way, forced=forced)
    _append(log_path(workspace), json.dumps(move.model_dump(mode="json"), sort_keys=True, ensure_ascii=False))
    write_atomically(workspace.champion, champion.to_json())
    return champion


def _append(path: Path, line: str) -> None:
    """Add a line by replacing the file, so that a crash cannot leave half a line."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    write_atomically(path, f"{before}{line}\n")


def _packaged(workspace: Workspace) -> str:
    path = workspace.data("package") / "package.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["tag"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LsgmerError(f"{path}: names no packaged model: {error}; `lsgmer run` makes one") from error


def _recorded_weights(card: Path) -> str:
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["weights_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LsgmerError(f"{card}: no readable train card: {error}; {REMEDY}") from error


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise LsgmerError(f"{path}: no such file; {REMEDY}")
    return file_sha256(path)


@contextmanager
def _lock(workspace: Workspace) -> Iterator[None]:
    workspace.state.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace.state / "champion.lock"):
        yield
