"""Hashes of files and folders: sha256 for lineage, md5 as DVC computes it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the sha256 (64 hex digits) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_md5(path: Path) -> str:
    """Return the md5 of a file's bytes, as dvc.lock records it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def dvc_md5(path: Path) -> str:
    """Return what dvc.lock records for `path`: a file's md5, or a folder's `....dir`.

    A folder's hash is the md5 of the JSON list of {"md5", "relpath"} of its files, sorted by relpath
    (https://dvc.org/doc/user-guide/project-structure/internal-files).
    """
    if path.is_file():
        return file_md5(path)
    entries = [
        {"md5": file_md5(file), "relpath": file.relative_to(path).as_posix()}
        for file in path.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
