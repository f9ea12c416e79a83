"""Features made elsewhere, looked up by utterance id: published feature sets, or an encoder that does not run here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import EncoderSpec, Modality

Array = np.ndarray[Any, Any]
ID, VALUES = "id", "values"
SHOWN = 3  # how many ids a message names


class Precomputed:
    """The features (T, D) float32 that `file` holds for each id; one vector counts as one frame.

    Parquet: column `id`, and either `values` (a list of D numbers, or of T lists of D) or one column per number.
    npz: one array (D,) or (T, D) per id. Pickled arrays are not read. Raises LsgmerError that names the file and id.
    """

    def __init__(self, modality: Modality, file: Path, source: str) -> None:
        self._file = file
        self._frames = {name: self._checked(name, values) for name, values in _read(file).items()}
        sizes = {values.shape[1] for values in self._frames.values()}
        if len(sizes) != 1:
            raise LsgmerError(f"{file}: features must all have the same size D, found {sorted(sizes) or 'no row'}")
        self.spec = EncoderSpec(
            modality=modality,
            kind="precomputed",
            source=source,
            dimension=sizes.pop(),
            weights_sha256=file_sha256(file),
        )

    def length(self, utterance_id: str) -> int | None:
        """Return the number of frames T of an utterance, or None where the file does not have it."""
        values = self._frames.get(utterance_id)
        return None if values is None else len(values)

    def look_up(self, ids: Sequence[str]) -> list[Array]:
        """Return the frames (T, D) of each id. Raises LsgmerError for an id that the file does not have."""
        absent = [name for name in ids if name not in self._frames]
        if absent:
            raise LsgmerError(f"{self._file}: no features for {absent[:SHOWN]}")
        return [self._frames[name] for name in ids]

    def matches(self, ids: Sequence[str]) -> tuple[int, int]:
        """Return how many of `ids` the file has, and how many ids of the file are not among them.

        Raises LsgmerError when it has none of them: then the two do not belong together.
        """
        found = len(self._frames.keys() & set(ids))
        if not found:
            raise LsgmerError(
                f"{self._file}: none of its ids ({', '.join(sorted(self._frames)[:SHOWN])} ...) is an utterance's "
                f"({', '.join(sorted(ids)[:SHOWN])} ...); both must spell their ids alike"
            )
        return found, len(self._frames) - found

    def encode(self, inputs: Sequence[Any]) -> NoReturn:
        """Raise LsgmerError: nothing here can turn new speech or text into such features."""
        raise LsgmerError(why_not_servable(self.spec))

    def _checked(self, name: str, values: Any) -> Array:
        try:
            found = np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError):
            raise LsgmerError(f"{self._file}: {name}: not numbers, or lists of unequal length") from None
        found = found[None] if found.ndim == 1 else found
        if found.ndim != 2 or not found.size:
            raise LsgmerError(f"{self._file}: {name}: shape {found.shape}; expected (D,) or (T, D), not empty")
        if not np.isfinite(found).all():
            raise LsgmerError(f"{self._file}: {name}: holds NaN or infinite values; remove the row or fix it")
        return found


def why_not_servable(spec: EncoderSpec) -> str:
    """Return why a model trained on precomputed features cannot be used on new speech."""
    return (
        f"the {spec.modality} features were made elsewhere ({spec.source}): nothing here can encode new speech or "
        "text that way, so such a model can be evaluated but not served; set features."
        + spec.modality
        + " to an encoder"
    )


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise LsgmerError(f"{file}: there is no such file; `source` of precomputed features is relative to corpus.path")
    if file.suffix == ".npz":
        return _read_npz(file)
    if file.suffix == ".parquet":
        return _read_parquet(file)
    raise LsgmerError(f"{file}: precomputed features are .parquet or .npz")


def _read_npz(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError) as error:
        raise LsgmerError(f"{file}: not readable as npz without pickles: {error}") from None


def _read_parquet(file: Path) -> dict[str, Any]:
    try:
        table = parquet.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise LsgmerError(f"{file}: not readable as Parquet: {str(error).splitlines()[0]}") from None
    names = table.column_names
    if ID not in names or len(names) < 2:
        raise LsgmerError(f"{file}: its columns are {names}; expected `id` and `values`, or `id` and one per number")
    ids = [str(value) for value in table.column(ID).to_pylist()]
    twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise LsgmerError(f"{file}: {len(twice)} ids occur more than once, such as {twice[:SHOWN]}")
    if VALUES in names:
        return dict(zip(ids, table.column(VALUES).to_pylist(), strict=True))
    others = [name for name in names if name != ID]
    for name in others:
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise LsgmerError(f"{file}: column {name!r} holds {kind}, not numbers; leave it out")
    return dict(zip(ids, np.column_stack([table.column(name).to_numpy() for name in others]), strict=True))
