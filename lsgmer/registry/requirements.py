"""What a server installs to run a Bento: the part of requirements.lock that the Bento needs, with its hashes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from lsgmer.core.errors import PackagingRefused

LOCK = "requirements.lock"
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")
VIA = re.compile(r"^ +#(?: via)? +(?P<name>[A-Za-z0-9._-]+)", re.MULTILINE)
HEADER = "# Complete: pip install --no-deps --require-hashes -r requirements.txt\n"


@dataclass(frozen=True, slots=True)
class Pin:
    """One entry of the lock: a package in an exact version, what needs it, and its lines without the comments."""

    name: str
    version: str
    needed_by: frozenset[str]
    lines: str


def needed(root: Path, names: Iterable[str]) -> str:
    """Return the lines of requirements.lock for the packages `names` and all that they need.

    The lock leaves out what the packages with weights declare and the service never imports: webrtcvad, which needs a
    C compiler, librosa and others. So they must be installed with --no-deps.

    Args:
        root: the folder with requirements.lock.
        names: the packages that the service imports.

    Returns:
        A requirements file with hashes, in the lock's order.

    Raises:
        PackagingRefused: the lock is missing, lacks one of `names`, or is not what runs here.

    """
    try:
        pins = read_pins((root / LOCK).read_text(encoding="utf-8"))
    except OSError as error:
        raise PackagingRefused(f"{root / LOCK}: {error.strerror}; restore it: servers install from it") from error
    wanted: set[str] = {canonicalize_name(name) for name in names}
    if missing := sorted(wanted - {pin.name for pin in pins}):
        raise PackagingRefused(f"{LOCK}: lacks {', '.join(missing)}, which the service imports; run `make lock`")
    while more := {pin.name for pin in pins if pin.needed_by & wanted} - wanted:
        wanted |= more
    chosen = [pin for pin in pins if pin.name in wanted]
    demand_installed(chosen)
    return HEADER + "".join(pin.lines for pin in chosen)


def read_pins(lock: str) -> list[Pin]:
    """Return the entries of a lock by `uv pip compile --generate-hashes`; a package may have one per Python version."""
    pins = []
    for entry in re.split(r"^(?=\S)", lock, flags=re.MULTILINE):
        if found := PIN.match(entry):
            lines = "".join(line for line in entry.splitlines(keepends=True) if not line.lstrip().startswith("#"))
            above = frozenset(canonicalize_name(via) for via in VIA.findall(entry))
            pins.append(Pin(canonicalize_name(found["name"]), found["version"], above, lines))
    return pins


def demand_installed(pins: Iterable[Pin], version: Callable[[str], str] = metadata.version) -> None:
    """Raise PackagingRefused where other versions run here: the Bento is tried with these, and served with the lock's.

    What is not installed is of another platform; 2.11.0+cpu counts as 2.11.0.
    """
    locked: dict[str, list[str]] = {}
    for pin in pins:
        locked.setdefault(pin.name, []).append(pin.version)
    wrong = []
    for name, versions in locked.items():
        try:
            found = version(name)
        except metadata.PackageNotFoundError:
            continue
        if found.partition("+")[0] not in versions:
            wrong.append(f"{name} {found} (lock: {' or '.join(versions)})")
    if wrong:
        raise PackagingRefused(f"not the versions of {LOCK}: {', '.join(wrong)}; `make test` sets .venv up from it")
