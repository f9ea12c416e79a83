"""The DVC remote: which one is set, no credentials in its settings, and what its errors mean."""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lsgmer.core.errors import LsgmerError

FILES = (".dvc/config", ".dvc/config.local")
# DVC would read these options from its files. Credentials belong in the environment, ~/.aws or an ssh-agent.
SECRETS = frozenset(
    {
        *("access_key_id", "secret_access_key", "session_token", "sse_customer_key"),  # S3
        *("password", "passphrase", "token", "connection_string", "sas_token", "account_key", "client_secret"),
        *("oss_key_id", "oss_key_secret", "gdrive_client_secret"),
    }
)
VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
INSTALL = "pip install 'lsgmer[s3]' for S3, 'dvc[ssh]' for SSH"
REMEDY = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or write ~/.aws/credentials"
_USER = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
_WORD = re.compile(r"^'remote \"(.+)\"'$")


@dataclass(frozen=True, slots=True)
class Remote:
    """A DVC remote: its name and address, a URL or a folder (relative to .dvc)."""

    name: str
    url: str

    @property
    def package(self) -> str | None:
        """The Python package that DVC needs for it and that is not installed here, else None."""
        scheme, colon, _ = self.url.partition("://")
        module = {"s3": "dvc_s3", "ssh": "dvc_ssh"}.get(scheme) if colon else None
        return module.replace("_", "-") if module and find_spec(module) is None else None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a remote did not answer, with the remedy; `outside`: nothing here is wrong, so trying again may help."""

    text: str
    outside: bool


# The first that is found in DVC's output holds: the more telling ones are first.
PROBLEMS = (
    (
        r"is supported, but requires '(dvc-\w+)'",
        f"this kind of remote needs the package {{0}}: {INSTALL}",
        False,
    ),
    (
        r"Unable to locate credentials|NoCredentialsError|Partial credentials",
        f"no credentials for the remote: {REMEDY}",
        False,
    ),
    (
        r"config profile \((.*?)\) could not be found",
        "AWS_PROFILE names the profile {0}, which ~/.aws does not have",
        False,
    ),
    (
        r"(InvalidAccessKeyId|SignatureDoesNotMatch|InvalidClientTokenId|ExpiredToken|AccessDenied|Forbidden)"
        r"|(Permission denied)",
        f"the remote refused access ({{0}}): the credentials must be valid and allow reading; for S3, {REMEDY}",
        False,
    ),
    (
        r"failed to connect to|Could not connect|[Tt]imed out|Name or service not known|Connection (?:refused|reset)"
        r"|Network is unreachable|No route to host",
        "the remote cannot be reached: check the network, and the remote's url and endpointurl in .dvc/config",
        True,
    ),
    (
        r"error\.dvc\.org/missing-files|Missing cache files|failed to transfer .*\[Errno 2\]",
        "the remote does not have this data: run `dvc push` where it is, or correct the remote's url in .dvc/config",
        False,
    ),
)


def explain(output: str) -> Problem | None:
    """Say what DVC's `output` means when a remote failed; None for what is not known here."""
    for pattern, text, outside in PROBLEMS:
        found = re.search(pattern, output)
        if found:
            return Problem(text.format(*(group for group in found.groups() if group)), outside)
    return None


def redact(text: str) -> str:
    """Return `text` without the credentials in the environment and without user:password in an address."""
    for name in VARIABLES:
        value = os.environ.get(name)
        if value:
            text = text.replace(value, f"[{name}]")
    return _USER.sub("[credentials]", text)


def default_remote(root: Path) -> Remote | None:
    """Return the remote that `dvc pull` in `root` would use, or None."""
    settings = read_settings(root / ".dvc")
    name = settings.get("core", {}).get("remote")
    url = settings.get(f"'remote \"{name}\"'", {}).get("url")
    return Remote(name, url) if name and url else None


def check_settings(root: Path) -> None:
    """Raise LsgmerError, naming file and option, if the settings of a remote hold credentials."""
    for name in FILES:
        for section, options in read_settings(root / ".dvc", (Path(name).name,)).items():
            remote = _WORD.match(section)
            wrong = sorted(key for key, value in options.items() if key in SECRETS or _USER.search(value))
            if remote and wrong:
                raise LsgmerError(
                    f"{root / name}: remote {remote[1]}: {', '.join(wrong)}: no credentials in this file; remove "
                    f"{'it' if len(wrong) == 1 else 'them'} and {REMEDY} (for SSH, use an ssh-agent)"
                )


def read_settings(folder: Path, names: tuple[str, ...] = ("config", "config.local")) -> dict[str, dict[str, str]]:
    """Return the settings in a .dvc folder by section, those of the later file over those of the earlier one."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read([folder / name for name in names], encoding="utf-8")
    return {name: dict(parser[name]) for name in parser.sections()}


def portable(options: dict[str, str], folder: Path) -> dict[str, str]:
    """Return a remote's options for a workspace elsewhere: a relative url made absolute, credentials left out."""
    url = options.get("url", "")
    kept = {name: value for name, value in options.items() if name not in SECRETS}
    if url and "://" not in url and not Path(url).is_absolute():
        kept["url"] = str((folder / url).resolve())
    return kept
