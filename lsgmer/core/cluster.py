"""Where shards of work run: in this process, in workers on this machine, or on a Dask cluster. Imports no Dask."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import is_own_address
from lsgmer.core.sections import UNWATCHED, ComputeParams, RuntimeParams, Section

NONE = "none"
TLS_FOLDER = "LSGMER_CLUSTER_TLS"  # where this machine keeps its TLS files: not a parameter, it changes no result
TLS_FILES = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate of the authority that both sides trust, and this side's own certificate and key."""

    authority: Path
    certificate: Path
    key: Path


def _known_form(value: str) -> str:
    if value == NONE or re.fullmatch(r"local:[1-9]\d{0,3}", value):
        return value
    try:
        url = urlsplit(value)
        whole = url.scheme in ("tcp", "tls") and url.hostname and url.port and not url.path
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("must be none, local:N (N processes here), tcp://host:port or tls://host:port")
    return value


class ClusterParams(Section):
    """The Dask cluster that shards run on. It changes no result, so DVC does not watch it and no card records it."""

    cluster: Annotated[str, AfterValidator(_known_form), UNWATCHED] = NONE
    cluster_trusted: Annotated[bool, UNWATCHED] = False

    @model_validator(mode="after")
    def _others_cannot_listen(self) -> ClusterParams:
        url = urlsplit(self.cluster)
        if url.scheme == "tcp" and not (is_own_address(str(url.hostname)) or self.cluster_trusted or has_tls()):
            raise ValueError(
                f"cluster {self.cluster} is on another machine and not encrypted, and whoever reaches a Dask "
                f"scheduler can run any code on it, on its workers and here; name a folder with {', '.join(TLS_FILES)} "
                f"in {TLS_FOLDER}, or set runtime.cluster_trusted: true for a network that you trust "
                "(docs/scaling.md)"
            )
        return self

    @property
    def local_workers(self) -> int | None:
        """How many worker processes to start here; None for another kind of cluster."""
        kind, _, count = self.cluster.partition(":")
        return int(count) if kind == "local" else None

    @property
    def address(self) -> str:
        """The scheduler's address; tls:// where TLS files are configured."""
        return re.sub(r"^tcp://", "tls://", self.cluster) if has_tls() else self.cluster


class ExtractionRuntime(ComputeParams, ClusterParams):
    """What feature extraction reads of the section `runtime`."""


class Runtime(RuntimeParams, ExtractionRuntime):
    """All of the section `runtime`: what can change a result's bits, and where the work runs."""


def has_tls() -> bool:
    """Return whether the environment names a folder with TLS files."""
    return bool(os.environ.get(TLS_FOLDER))


def tls_files(address: str = "") -> TlsFiles | None:
    """Return the TLS files that the environment names, None without. Raises LsgmerError for a missing one."""
    if not has_tls():
        if address.startswith("tls:"):
            raise LsgmerError(
                f"runtime.cluster is {address}: name the folder with {', '.join(TLS_FILES)} in {TLS_FOLDER}"
            )
        return None
    folder = Path(os.environ[TLS_FOLDER])
    if missing := [name for name in TLS_FILES if not (folder / name).is_file()]:
        raise LsgmerError(
            f"{TLS_FOLDER}={folder}: lacks {', '.join(missing)}; docs/scaling.md says how to make them, or unset "
            f"{TLS_FOLDER}"
        )
    return TlsFiles(*(folder / name for name in TLS_FILES))
