"""API keys of the service: made by `lsgmer keys add`, shown once, kept as hashes only.

A key is 256 random bits. Slow hashes (bcrypt, argon2) make guessing a password's few bits expensive; nobody can guess
256 of them, so one sha256 per key is enough, and a request costs microseconds. The salt of each key keeps a table of
hashes made in advance, or a second keys.json, from saying anything.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import write_atomically
from lsgmer.core.records import Record, first_problem
from lsgmer.service.locking import lock_file

PREFIX = "lsgmer_"  # lets people, and scanners for leaked secrets, see what it is
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BadKey(LsgmerError):
    """A key's name, or the file of keys, cannot be used."""


class Key(Record):
    """One key: its name, the salted hash of it, and when it was made and revoked."""

    name: str
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: str
    revoked: str | None = None

    @property
    def status(self) -> str:
        """Whether it is accepted."""
        return "active" if self.revoked is None else f"revoked {self.revoked}"


class KeyFile(Record):
    """keys.json. Revoked keys stay: their names are in the log of predictions and must not be given away again."""

    format: Literal["lsgmer-keys/1"] = "lsgmer-keys/1"
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The keys as read from a file in the state `stamp`."""

    stamp: tuple[int, int, int] | None
    keys: tuple[Key, ...]


class Keys:
    """The keys in a file, read again when the file changes: a revoked key stops working at once, in every worker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded = _load(path)

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Read the keys in `path`; a missing file holds none. Raises LsgmerError for an unreadable one."""
        return cls(path)

    def who(self, presented: str) -> str | None:
        """Return the name of the key `presented`, None when no active key is that.

        The time it takes says nothing about the keys: every one of them is compared in constant time, also after a
        match. A file that has become unreadable raises LsgmerError: nobody may be let in then.
        """
        given, found = presented.encode(errors="backslashreplace"), None
        for key in self._fresh().keys:
            same = hmac.compare_digest(_hash(key.salt, given), key.sha256)
            found = key.name if same and key.revoked is None else found
        return found

    @property
    def any_made(self) -> bool:
        """Whether any key was ever made, revoked ones included.

        A service that is open until there are keys asks once, when it starts: deleting keys.json must not open it.
        """
        return bool(self._fresh().keys)

    def _fresh(self) -> _Loaded:
        loaded = self._loaded
        try:
            stamp = _stamp(self.path.stat())
        except FileNotFoundError:
            stamp = None
        if stamp != loaded.stamp:
            self._loaded = loaded = _load(self.path)
        return loaded


def add(path: Path, name: str) -> str:
    """Make a key called `name` and return it; it cannot be shown again.

    Raises LsgmerError when the name is not a plain one, or is or was another key's.
    """
    if not NAME.fullmatch(name):
        raise BadKey(
            f"{name[:80]!r}: not a name for a key: use 1 to 64 letters, digits and . _ -, a letter or digit first"
        )
    with _changing(path):
        keys = _load(path).keys
        for key in keys:
            if key.name.lower() == name.lower():
                why = (
                    "there is one already; revoke it, and" if key.revoked is None else f"was revoked on {key.revoked};"
                )
                raise BadKey(f"key {key.name}: {why} choose another name, since the log of predictions names keys")
        secret, salt = PREFIX + secrets.token_urlsafe(32), secrets.token_hex(16)
        made = Key(name=name, salt=salt, sha256=_hash(salt, secret.encode()), created=_now())
        _save(path, (*keys, made))
    return secret


def revoke(path: Path, name: str) -> Key:
    """Revoke the key `name`, at once and for good. Raises LsgmerError when there is no such active key."""
    with _changing(path):
        keys = _load(path).keys
        found = next((key for key in keys if key.name == name), None)
        if found is None:
            known = ", ".join(key.name for key in keys if key.revoked is None) or "none"
            raise BadKey(f"key {name}: there is no such key (active keys: {known})")
        if found.revoked is not None:
            raise BadKey(f"key {name}: was already revoked on {found.revoked}")
        revoked = found.model_copy(update={"revoked": _now()})
        _save(path, tuple(revoked if key is found else key for key in keys))
    return revoked


def all_keys(path: Path) -> tuple[Key, ...]:
    """Return every key, revoked ones included, oldest first."""
    return _load(path).keys


def _changing(path: Path) -> AbstractContextManager[None]:
    """Keep other commands out while the file is read and written again."""
    return lock_file(path.with_suffix(".lock"))


def _save(path: Path, keys: tuple[Key, ...]) -> None:
    write_atomically(path, KeyFile(keys=keys).to_json(), mode=0o600)


def _load(path: Path) -> _Loaded:
    try:
        with path.open("rb") as file:
            stamp, content = _stamp(os.fstat(file.fileno())), file.read()
        return _Loaded(stamp, KeyFile.model_validate_json(content).keys)
    except FileNotFoundError:
        return _Loaded(None, ())
    except (OSError, ValueError) as error:
        raise BadKey(
            f"{path}: not readable as keys: {first_problem(error)}; restore it, or delete it and all keys"
        ) from error


def _stamp(state: os.stat_result) -> tuple[int, int, int]:
    """Return what tells one state of the file from the next."""
    return state.st_mtime_ns, state.st_size, state.st_ino


def _hash(salt: str, secret: bytes) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
