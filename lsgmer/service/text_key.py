"""The key with which a prediction log hashes words."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from lsgmer.core.paths import write_atomically
from lsgmer.service.log_format import LogError


@dataclass(frozen=True, slots=True)
class TextKey:
    """A random 256-bit key, in the file FOLDER.key beside the log's folder.

    Words are short: whoever has a plain sha256 of "yes", or one with a salt that the log itself holds, finds the words
    by trying. An HMAC with a key that is not in the log protects the words from everybody who has the log alone: a
    copy, a backup, whoever collects logs. It does not protect them from someone who also has the key file; deleting
    that file makes all hashes made with it meaningless for good. Audio is hashed without a key, since a recording
    cannot be guessed: with the recording in hand, `sha256sum` says whether it is the one.
    """

    secret: bytes

    @classmethod
    def of(cls, folder: Path) -> TextKey:
        """Return the key of the log in `folder`, made now if there is none. Raises LogError for an unreadable one."""
        path = folder.with_name(f"{folder.name}.key")
        if not path.exists():
            write_atomically(path, secrets.token_hex(32) + "\n", mode=0o600)
        try:
            return cls(bytes.fromhex(path.read_text(encoding="ascii").strip()))
        except (OSError, ValueError) as error:
            raise LogError(f"{path}: not a key: {error}; restore it, or delete it to hash with a new one") from error

    @property
    def id(self) -> str:
        """What names the key in the log without giving it away."""
        return hashlib.sha256(self.secret).hexdigest()[:8]

    def hash(self, text: str) -> str:
        """Return ID:HMAC-SHA256 of `text` in UTF-8, as the log holds it."""
        return f"{self.id}:{hmac.digest(self.secret, text.encode(), 'sha256').hex()}"
