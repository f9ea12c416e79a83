"""Where an encoder's files come from: a folder, a pinned hub revision or an installed package; and their hashes."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import digest

PACKAGE = "package:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
# Every other file that may decide a feature's bits. Pickled weights are never read.
SETTINGS = (
    "added_tokens.json",
    "config.json",
    "merges.txt",
    "preprocessor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """An encoder's local folder, the hash of its weights, and the sha256 of its settings files by name."""

    folder: Path
    weights_sha256: str
    settings: dict[str, str]

    def names(self) -> list[str]:
        """Return the names of every file the encoder needs, weights first."""
        return [*_weight_names(self.folder), *self.settings]


def find_files(
    source: str | None, revision: str | None, expected_sha256: str | None, root: Path, packed: Path | None = None
) -> EncoderFiles:
    """Return the files of an encoder, checked against `expected_sha256` where one is given.

    Args:
        source: "package:NAME/FOLDER" (a folder inside an installed package), a folder, or a hub id.
        revision: the commit of a hub id, 40 hex digits.
        expected_sha256: what the weights must hash to.
        root: what a folder is relative to.
        packed: a folder used instead of a folder or hub source if it exists; the weights' hash ensures that
            it holds the same encoder.

    Raises:
        LsgmerError: the files are missing, incomplete or not the expected ones.

    """
    if source is None:
        raise LsgmerError("features: an encoder of kind transformers needs a source: a folder, a hub id or package:...")
    folder = _folder_of(source, revision, root, packed)
    if not (folder / "config.json").is_file():
        raise LsgmerError(
            f"{folder}: no config.json; {source} is not a folder that transformers' save_pretrained wrote"
        )
    found = _weights_sha256(folder)
    if expected_sha256 is not None and found != expected_sha256:
        raise LsgmerError(
            f"{folder / WEIGHTS}: sha256 is {found}, expected {expected_sha256}: these are different weights. "
            "Restore the right file, or put the new hash into params.yaml if the change is intended"
        )
    settings = {name: file_sha256(folder / name) for name in SETTINGS if (folder / name).is_file()}
    return EncoderFiles(folder, found, settings)


def copy_files(files: EncoderFiles, destination: Path) -> None:
    """Copy what the encoder needs to `destination`, following links (a hub cache is made of them)."""
    destination.mkdir(parents=True, exist_ok=True)
    for name in files.names():
        shutil.copyfile(files.folder / name, destination / name)


def is_packed(source: str | None) -> bool:
    """Return whether a Bento must carry this source's files: a folder or a hub id, not an installed package."""
    return source is not None and not source.startswith(PACKAGE)


def _folder_of(source: str, revision: str | None, root: Path, packed: Path | None) -> Path:
    if source.startswith(PACKAGE):
        return _package_folder(source)
    if packed is not None and packed.is_dir():
        return packed
    folder = root / Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(source):
        raise LsgmerError(f"encoder source {source}: no such folder ({folder}), and not a hub id (OWNER/NAME)")
    if revision is None or not COMMIT.fullmatch(revision):
        raise LsgmerError(
            f"encoder source {source}: {folder} is not a folder, so this is a hub id, and it needs `revision`: "
            f"the commit (40 hex digits) it is pinned to, not {revision!r}. A branch or a tag can move, and then the "
            "same params would give different features"
        )
    return _hub_folder(source, revision)


def package_file(source: str) -> Path:
    """Return the file "package:NAME/PATH" inside an installed package. Raises LsgmerError."""
    folder, _, name = source.rpartition("/")
    if not folder.startswith(PACKAGE):
        raise LsgmerError(f"encoder source {source}: expected package:NAME/FILE, a file inside an installed package")
    path = _package_folder(folder) / name
    if not path.is_file():
        raise LsgmerError(f"encoder source {source}: no such file: {path}")
    return path


def _package_folder(source: str) -> Path:
    """Find a folder inside an installed package without running the package's code."""
    name, _, inside = source.removeprefix(PACKAGE).partition("/")
    spec = find_spec(name) if re.fullmatch(r"\w+", name) else None
    if spec is None or not spec.submodule_search_locations:
        raise LsgmerError(f"encoder source {source}: package {name!r} is not installed; run `make run` or install it")
    folder = Path(spec.submodule_search_locations[0]) / inside
    if not folder.is_dir():
        raise LsgmerError(f"encoder source {source}: package {name} has no folder {inside!r}")
    return folder


def _hub_folder(source: str, revision: str) -> Path:
    """Return the local snapshot of a pinned revision, downloading it only if the hub is switched online."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE", "1").upper() in {"1", "ON", "YES", "TRUE"}
    wanted = [*SETTINGS, SHARDS, "model*.safetensors"]
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=wanted, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = "it is not in the local cache and the hub is switched off" if offline else str(error)
        raise LsgmerError(
            f"encoder source {source} at {revision}: {reason}. With the network, fetch it once: "
            f"HF_HUB_OFFLINE=0 hf download {source} --revision {revision}"
        ) from error


def _weight_names(folder: Path) -> list[str]:
    """Return the safetensors files of `folder`: one, or an index with its shards."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / SHARDS).is_file():
        return [SHARDS, *sorted(path.name for path in folder.glob("model-*.safetensors"))]
    raise LsgmerError(
        f"{folder}: no {WEIGHTS}. Only safetensors are read, because pickled weights can run code: load the model "
        "once with transformers where you trust it and write it with save_pretrained"
    )


def _weights_sha256(folder: Path) -> str:
    """Return the sha256 of the one weights file, or of the list of the shards' hashes."""
    names = _weight_names(folder)
    if len(names) == 1:
        return file_sha256(folder / names[0])
    return digest({name: file_sha256(folder / name) for name in names})
