"""`lsgmer import-encoder`: an encoder from a folder or the hub, as a folder of safetensors that the program reads.

Pickled weights are read by torch's restricted unpickler, which makes tensors and nothing else, and refuses the rest.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.process import OFFLINE, apply_environment
from lsgmer.core.records import Record, read_record
from lsgmer.encoders.weights import HUB_ID, ORIGIN, SHARDS, UNREAD, WEIGHTS, settings_names, weight_names

if TYPE_CHECKING:
    from torch import Tensor

PICKLE = "pytorch_model.bin"
PICKLE_SHARDS = "pytorch_model.bin.index.json"
WORDS = "I can not believe it"
RATE = 16_000


class Origin(Record):
    """lsgmer_origin.json: where an imported encoder came from, what was read there, and what was written.

    `read` and `written` give the sha256 of each file by name; `revision` is the commit of a hub id.
    """

    format: str = "lsgmer-encoder-origin/1"
    source: str
    revision: str | None
    read: dict[str, str]
    written: dict[str, str]


@dataclass(frozen=True, slots=True)
class Trial:
    """What the imported encoder made of one utterance: (frames, dimension), and its number of layers."""

    modality: str
    layers: int
    shape: tuple[int, int]


def import_encoder(source: str, destination: Path, revision: str | None) -> None:
    """Turn `source`, a folder or a hub id, into the folder `destination`; it appears whole or not at all.

    Raises LsgmerError when the source is missing, incomplete or holds more than tensors, or cannot encode.
    """
    _check_destination(destination)
    with _found(source, revision) as (folder, commit):
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as name:
            made = Path(name) / "encoder"
            made.mkdir()
            read = write_weights(folder, made)
            for setting in settings_names(folder):
                shutil.copyfile(folder / setting, made / setting)
                read.append(setting)
            try:
                trial = encode_one(made)
            except LsgmerError as error:
                raise LsgmerError(f"{source}: its weights can be read, but {_told(error, made)}") from None
            origin = Origin(
                source=source,
                revision=commit,
                read={file: file_sha256(folder / file) for file in read},
                written={path.name: file_sha256(path) for path in sorted(made.iterdir())},
            )
            (made / ORIGIN).write_text(origin.to_json(), encoding="utf-8")
            if destination.is_dir():
                destination.rmdir()
            made.rename(destination)
    _say(source, destination, trial, origin)


def _check_destination(destination: Path) -> None:
    if destination.is_dir() and not any(destination.iterdir()):
        return
    if (destination / ORIGIN).is_file():
        origin = read_record(destination / ORIGIN, Origin, "name another folder")
        raise LsgmerError(
            f"{destination}: holds {origin.source} already; name another folder, or remove this one to import it again"
        )
    if destination.exists():
        raise LsgmerError(f"{destination}: exists and is not empty; name a new folder")


@contextmanager
def _found(source: str, revision: str | None) -> Iterator[tuple[Path, str | None]]:
    """Yield the folder with the files of `source`, and the commit of a hub id."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ParamsError(f"--revision {revision}: {source} is a folder, which has no revisions; leave it out")
        yield folder, None
        return
    if not HUB_ID.fullmatch(source):
        raise LsgmerError(f"{source}: no such folder, and not a hub id (OWNER/NAME)")
    with tempfile.TemporaryDirectory(prefix="lsgmer-import-") as name:
        yield Path(name), _download(source, revision, Path(name))


def _download(source: str, revision: str | None, folder: Path) -> str:
    """Download what is needed of a hub id to `folder`; return the commit that `revision` (default: main) is now."""
    os.environ[OFFLINE] = "0"  # whoever imports from the hub wants the network, which is off by default
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    constants.HF_HUB_OFFLINE = False  # it was read when huggingface_hub was first imported
    try:
        info = HfApi().model_info(source, revision=revision, timeout=30)
        names = [file.rfilename for file in info.siblings or ()]
        commit = str(info.sha)
        snapshot_download(source, revision=commit, local_dir=folder, allow_patterns=hub_names(source, names))
    except RepositoryNotFoundError:
        raise LsgmerError(f"{source}: no such model on the hub, or it needs a login (`hf auth login`)") from None
    except RevisionNotFoundError:
        raise LsgmerError(f"{source}: no revision {revision}; leave --revision out for its main branch") from None
    except HfHubHTTPError as error:
        raise LsgmerError(f"{source}: the hub refused: {str(error).splitlines()[0]}; try again later") from None
    except LsgmerError:
        raise
    except Exception as error:  # of whatever HTTP library huggingface_hub uses
        raise LsgmerError(
            f"{source}: no such folder here, and the hub ({constants.ENDPOINT}) cannot be reached: no network? "
            f"({_first(error)}). Import it where there is one, or copy its files to a folder and import that"
        ) from None
    return commit


def hub_names(source: str, names: list[str]) -> list[str]:
    """Return which of a repository's files to download: settings, and one form of the weights.

    Raises LsgmerError when it has no weights that can be read.
    """
    import fnmatch

    top = [name for name in names if "/" not in name]
    settings = [n for n in top if not any(fnmatch.fnmatchcase(n, p) for p in UNREAD) and not n.endswith(".safetensors")]
    forms = (
        (WEIGHTS, [WEIGHTS]),
        (SHARDS, [SHARDS, *(n for n in top if fnmatch.fnmatchcase(n, "model-*.safetensors"))]),
        (PICKLE, [PICKLE]),
        (PICKLE_SHARDS, [PICKLE_SHARDS, *(n for n in top if fnmatch.fnmatchcase(n, "pytorch_model-*.bin"))]),
    )
    for first, weights in forms:
        if first in top:
            return [*weights, *settings]
    raise LsgmerError(f"{source}: has none of {', '.join(first for first, _ in forms)}: not an encoder for PyTorch")


def write_weights(folder: Path, made: Path) -> list[str]:
    """Write the weights in `folder` to `made` as safetensors; return the names of the files that were read.

    Safetensors are copied as they are. Raises LsgmerError for missing, incomplete or unusable weights.
    """
    if (folder / WEIGHTS).is_file() or (folder / SHARDS).is_file():
        names = weight_names(folder)
        for name in names:
            shutil.copyfile(folder / name, made / name)
        return names
    if (folder / PICKLE).is_file():
        names, tensors = [PICKLE], read_pickle(folder / PICKLE)
    elif (folder / PICKLE_SHARDS).is_file():
        names, tensors = _read_shards(folder)
    else:
        raise LsgmerError(f"{folder}: no weights; expected {WEIGHTS}, {SHARDS}, {PICKLE} or {PICKLE_SHARDS}")
    from safetensors.torch import save_file

    # A copy of each: safetensors refuses tensors that share memory, as tied embeddings do.
    whole = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    save_file(whole, made / WEIGHTS, metadata={"format": "pt"})
    return names


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a pickled state dict, without running any code that it may hold.

    Raises LsgmerError for a file that holds anything else, or is cut short.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LsgmerError(f"{path}: refused: {_culprit(error)}. Nothing in it was run") from None
    except Exception as error:  # bytes that are no pickle can end in any
        raise LsgmerError(f"{path}: not readable as PyTorch weights: {_first(error)}; get the file again") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise LsgmerError(f"{path}: holds {_kind(content)}, not the named tensors of a model")
    wrong = [name for name, value in content.items() if not isinstance(name, str) or not _is_plain(value)]
    if wrong:
        raise LsgmerError(
            f"{path}: {wrong[0]!r} is {_kind(content[wrong[0]])}, not a dense tensor; expected a state dict as "
            "transformers' save_pretrained wrote it"
        )
    return dict(content)


def _read_shards(folder: Path) -> tuple[list[str], dict[str, Tensor]]:
    index = folder / PICKLE_SHARDS
    try:
        placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(placed.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LsgmerError(f"{index}: not an index of weights: {_first(error)}; get the file again") from None
    tensors: dict[str, Tensor] = {}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise LsgmerError(f"{index}: {name!r} is not the name of a file beside it")
        if not (folder / name).is_file():
            raise LsgmerError(f"{folder / name}: no such file, though {PICKLE_SHARDS} names it; get the missing shard")
        tensors |= read_pickle(folder / name)
    if absent := sorted(set(placed) - set(tensors)):
        raise LsgmerError(f"{index}: names {len(absent)} tensors that no shard holds, such as {absent[0]}")
    return [PICKLE_SHARDS, *names], tensors


def encode_one(folder: Path) -> Trial:
    """Load the encoder in `folder` and encode one utterance. Raises LsgmerError when it cannot."""
    from lsgmer.audio import Waveform
    from lsgmer.encoders.build import build_audio, build_text
    from lsgmer.encoders.params import AudioEncoderParams, TextEncoderParams

    apply_environment()
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        layers = int(config.get("num_hidden_layers", 0))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise LsgmerError(f"it has no readable config.json: {_first(error)}") from None
    if "conv_kernel" in config or config.get("model_type") in ("hubert", "wavlm", "wav2vec2"):
        seconds = np.arange(RATE) / RATE
        wave = Waveform((0.1 * np.sin(2 * np.pi * 150 * seconds)).astype(np.float32), RATE)
        audio = build_audio(AudioEncoderParams(kind="transformers", source=str(folder.absolute())), folder)
        frames = audio.encode([wave])[0] if audio is not None else np.zeros((0, 0))
        modality = "audio"
    else:
        params = TextEncoderParams(kind="transformers", source=str(folder.absolute()), max_tokens=16)
        text = build_text(params, folder)
        frames = text.encode([WORDS])[0] if text is not None else np.zeros((0, 0))
        modality = "text"
    if not frames.size or not np.isfinite(frames).all():
        raise LsgmerError(f"its frames of a trial utterance {frames.shape} are not all numbers")
    return Trial(modality, layers, (frames.shape[0], frames.shape[1]))


def _say(source: str, destination: Path, trial: Trial, origin: Origin) -> None:
    weights = origin.written.get(WEIGHTS)
    at = f" at {origin.revision}" if origin.revision else ""
    print(f"{source}{at} is now {destination}: {trial.layers} layers, dimension {trial.shape[1]}")
    print(f"a trial utterance gave {trial.shape[0]} frames; {destination / ORIGIN} has the sha256 of every file")
    sha256 = f", sha256: {weights}" if weights else ""
    print(f"use it with\n  features:\n    {trial.modality}: {{kind: transformers, source: {destination}{sha256}}}")


def _is_plain(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized


def _kind(value: Any) -> str:
    return f"a {type(value).__module__}.{type(value).__name__}".replace("a builtins.", "a ")


def _culprit(error: Exception) -> str:
    """Return what the restricted unpickler met, from its long message."""
    text = str(error)
    for start in ("Unsupported global: GLOBAL ", "Trying to load unsupported GLOBAL "):
        if start in text:
            name = text.partition(start)[2].split()[0]
            return f"it holds more than weights: loading it in the usual way would call {name}"
    return f"it holds more than weights, or is not a pickle of PyTorch ({_first(error)})"


def _told(error: Exception, made: Path) -> str:
    """Return the error's message without the temporary folder that it names."""
    return str(error).replace(f"{made.absolute()}: ", "").replace(f"{made.absolute()}/", "")


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
