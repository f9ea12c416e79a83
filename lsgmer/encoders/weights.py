"""Where an encoder's files come from: a folder, a pinned hub revision or an installed package; and their hashes."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import EncoderSpec, digest

PACKAGE = "package:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
SHARD = "model-*.safetensors"
ORIGIN = "lsgmer_origin.json"  # what `lsgmer import-encoder` notes about where a folder came from
# Files of a folder that decide no feature's bits. Every other one counts, so that a settings file that a later version
# of transformers writes is hashed and packed without being known here. Pickled weights are never read.
UNREAD = (
    ".*",
    ORIGIN,
    *("*.md", "LICENSE*", "NOTICE*", "README*", "CITATION*"),
    *("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.npz", "*.tar", "*.zip", "*.gz"),
    *("*.h5", "*.h5.index.json", "*.msgpack", "*.msgpack.index.json", "*.ot", "*.onnx", "*.gguf", "*.tflite"),
    *("*.py", "*.png", "*.jpg", "*.jpeg", "*.svg", "*.wav", "*.flac", "*.mp3"),
    *("*_results.json", "trainer_state.json"),
    *("modules.json", "data_config.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
)


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """An encoder's local folder, the hash of its weights, and the sha256 of its settings files by name."""

    folder: Path
    weights_sha256: str
    settings: dict[str, str]

    def names(self) -> list[str]:
        """Return the names of every file the encoder needs, weights first."""
        return [*weight_names(self.folder), *self.settings]

    def differences(self, spec: EncoderSpec) -> list[str]:
        """Return what is not as `spec` says: "weights", and the names of settings files; empty if all is the same."""
        noted = spec.settings.get("files", {})
        wrong = {name for name in {*noted, *self.settings} if noted.get(name) != self.settings.get(name)}
        return ["weights"] * (self.weights_sha256 != spec.weights_sha256) + sorted(wrong)


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
    return EncoderFiles(folder, found, {name: file_sha256(folder / name) for name in settings_names(folder)})


def settings_names(folder: Path) -> list[str]:
    """Return the names of the files in `folder`, weights left out, that may decide a feature's bits, sorted."""
    weights = {WEIGHTS, SHARDS, *(path.name for path in folder.glob(SHARD))}
    return sorted(
        path.name for path in folder.iterdir() if path.is_file() and _counts(path.name) and path.name not in weights
    )


def watched_names(folder: Path) -> list[str]:
    """Return the names of the files in `folder` that make the encoder what it is, weights first."""
    weights = [WEIGHTS] if (folder / WEIGHTS).is_file() else [SHARDS, *sorted(p.name for p in folder.glob(SHARD))]
    return [name for name in weights if (folder / name).is_file()] + settings_names(folder)


def source_folder(source: str | None, root: Path) -> Path | None:
    """Return the folder that `source` names, relative to `root`; None for a package or a hub id."""
    if source is None or not is_packed(source):
        return None
    folder = root / Path(source).expanduser()
    return folder if folder.is_dir() else None


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
    if (found := source_folder(source, root)) is not None:
        return found
    folder = root / Path(source).expanduser()
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
    unread = [*UNREAD, "*/*"]
    try:
        return Path(snapshot_download(source, revision=revision, ignore_patterns=unread, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = "it is not in the local cache and the hub is switched off" if offline else str(error)
        raise LsgmerError(
            f"encoder source {source} at {revision}: {reason}. With the network, fetch it once: "
            f"HF_HUB_OFFLINE=0 hf download {source} --revision {revision}; where the hub has pickled weights only, "
            f"use `lsgmer import-encoder {source} FOLDER`"
        ) from error


def weight_names(folder: Path) -> list[str]:
    """Return the safetensors files of `folder`: one, or an index with its shards."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / SHARDS).is_file():
        return [SHARDS, *sorted(path.name for path in folder.glob(SHARD))]
    raise LsgmerError(
        f"{folder}: no {WEIGHTS}. Only safetensors are read, because pickled weights can run code; "
        f"`lsgmer import-encoder {folder} FOLDER` turns pickled weights into safetensors without running any"
    )


def _weights_sha256(folder: Path) -> str:
    """Return the sha256 of the one weights file, or of the list of the shards' hashes."""
    names = weight_names(folder)
    if len(names) == 1:
        return file_sha256(folder / names[0])
    return digest({name: file_sha256(folder / name) for name in names})


def _counts(name: str) -> bool:
    """Return whether a file called `name` may decide a feature's bits. Of safetensors, only an adapter does so."""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in UNREAD):
        return False
    return not name.endswith(".safetensors") or name.startswith("adapter")
