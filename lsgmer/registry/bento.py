"""A packaged model: what a Bento holds under src/, checked against its own records before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lsgmer.core.device import set_threads
from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import Record, digest, read_record
from lsgmer.core.source import SourceState
from lsgmer.registry.layout import MODEL, MODEL_CARD, MODEL_WEIGHTS, PACKAGE_SOURCE
from lsgmer.registry.model_card import ModelCard

if TYPE_CHECKING:
    from lsgmer.inference.predictor import Predictor

RESTORE = "restore the package as it was built"
CODE = ("lsgmer", "serving")  # where a Bento's code is, including that of older layouts
# The code that packaging copies: what the service imports and nothing else. A test compares it with the imports.
SERVED = (
    "lsgmer/__init__.py",
    *(f"lsgmer/core/{name}.py" for name in ("__init__", "device", "errors", "hashing", "paths", "process")),
    *(f"lsgmer/core/{name}.py" for name in ("lines", "records", "sections", "source", "text")),
    "lsgmer/audio.py",
    "lsgmer/containers.py",
    "lsgmer/metrics.py",
    "lsgmer/encoders",
    *(f"lsgmer/features/{name}.py" for name in ("__init__", "batch", "normalise")),
    *(f"lsgmer/model/{name}.py" for name in ("__init__", "checkpoint", "divergence", "ensemble")),
    *(f"lsgmer/model/{name}.py" for name in ("lsgmer", "params", "pooling", "train_card")),
    "lsgmer/turns",
    "lsgmer/speech",
    "lsgmer/conversations",
    "lsgmer/inference",
    *(f"lsgmer/evaluation/{name}.py" for name in ("__init__", "records")),
    *(f"lsgmer/registry/{name}.py" for name in ("__init__", "bento", "layout", "model_card")),
    "lsgmer/service",
    "serving",
)


class PackageSource(Record):
    """package_source.json: the serving code, file by file, and the version that is derived from it."""

    format: Literal["lsgmer-package-source/1"] = "lsgmer-package-source/1"
    version: str
    state: SourceState
    served: dict[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A built Bento's sources in the folder `root`; its version is derived from weights, card and code."""

    root: Path
    card: ModelCard
    version: str

    @property
    def tag(self) -> str:
        """The Bento's exact tag, name:version, which every prediction reports."""
        return f"{self.card.name}:{self.version}"

    @classmethod
    def open(cls, root: Path) -> Bundle:
        """Open a packaged model after checking that nothing in it was changed.

        Args:
            root: the src folder of a built Bento, which holds model/, papers/ and the code.

        Returns:
            The package, its card read and its version recomputed. `predictor` then loads the model.

        Raises:
            LsgmerError: a record is missing, or weights, card or code do not match the recorded version.

        """
        try:
            card = read_record(root / MODEL_CARD, ModelCard, RESTORE)
            recorded = read_record(root / PACKAGE_SOURCE, PackageSource, RESTORE)
            weights = file_sha256(root / MODEL_WEIGHTS)
        except (OSError, LsgmerError) as error:
            raise LsgmerError(f"{root}: not a packaged model: {error}; `lsgmer serve` serves the champion") from error
        found = version_of(weights, file_sha256(root / MODEL_CARD), served_files(root))
        if found != recorded.version:
            raise LsgmerError(
                f"{root}: weights, card or code changed since it was packaged as {card.name}:{recorded.version} "
                f"(they now make {found}); run `lsgmer audit {card.name}:{recorded.version}` to see which"
            )
        return cls(root, card, found)

    def predictor(self) -> Predictor:
        """Load the model, with the thread count that it was trained with."""
        from lsgmer.inference.predictor import Predictor  # torch, which packaging does without

        set_threads(int(self.card.train.params["runtime"]["threads"]))
        return Predictor.load(self.root / MODEL, self.tag, limits=self.card.audio_limits, channel=self.card.channel)


def code_to_serve(root: Path) -> list[str]:
    """Return the source files of the project in `root` that a Bento carries, relative to it, sorted."""
    return _files(root, SERVED)


def served_files(root: Path) -> dict[str, str]:
    """Return the sha256 of every source file in the Bento sources `root`, by relative path."""
    return {name: file_sha256(root / name) for name in _files(root, CODE)}


def version_of(weights_sha256: str, card_sha256: str, served: dict[str, str]) -> str:
    """Return the version, 16 hex digits: the same weights, card and code always get the same one."""
    return digest({"weights": weights_sha256, "card": card_sha256, "served": served})[:16]


def _files(root: Path, names: tuple[str, ...]) -> list[str]:
    files = [file for name in names for file in (root / name, *(root / name).rglob("*")) if file.is_file()]
    return sorted(file.relative_to(root).as_posix() for file in files if "__pycache__" not in file.parts)
