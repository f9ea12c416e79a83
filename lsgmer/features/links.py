"""Links to the encoders that params.yaml names as folders, so that DVC sees when one is replaced in place.

`dvc.yaml` can name a fixed dependency only, and an encoder may be in any folder, or in none. So data/encoders has a
link to every file that decides an encoder's bits, and DVC hashes what they point to. The files of a hub id or an
installed package cannot change under their name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import MODALITIES
from lsgmer.core.sections import Sections, read_sections
from lsgmer.encoders.params import FeaturesParams
from lsgmer.encoders.weights import source_folder, watched_names

IGNORE = "*\n!.gitignore\n"


class Needs(Sections):
    """What is read of params.yaml."""

    features: FeaturesParams


def refresh_links(workspace: Workspace) -> None:
    """Make data/encoders link to the encoders that the workspace's params.yaml names. Raises ParamsError."""
    link_encoders(workspace, read_sections(workspace.params, Needs).features)


def link_encoders(workspace: Workspace, features: FeaturesParams) -> None:
    """Make data/encoders/MODALITY-NUMBER hold a link to each file of each encoder in a folder, and nothing else.

    The files of a transcriber are linked to in data/encoders/transcribe-0.
    """
    top = workspace.data("encoders")
    wanted = {
        top / name / file: source
        for name, source in _sources(features)
        if (folder := source_folder(source, workspace.root)) is not None
        for file in watched_names(folder)
    }
    if not (top / ".gitignore").is_file():
        write_atomically(top / ".gitignore", IGNORE)
    for path in top.iterdir():
        if path.is_dir() and not path.is_symlink() and path not in {link.parent for link in wanted}:
            shutil.rmtree(path)
    for folder in {link.parent for link in wanted}:
        folder.mkdir(exist_ok=True)
        for path in set(folder.iterdir()) - set(wanted):
            path.unlink()
    for link, source in wanted.items():
        _point(link, workspace.root.resolve() / Path(source).expanduser() / link.name, Path(source).is_absolute())


def _sources(features: FeaturesParams) -> Iterator[tuple[str, str]]:
    """Yield the source of every encoder and transcriber in a folder, and what its folder of links is called."""
    for modality in MODALITIES:
        given = getattr(features, modality)
        for i, encoder in enumerate(given if isinstance(given, tuple) else (given,)):
            if encoder.kind == "transformers" and encoder.source is not None:
                yield f"{modality}-{i}", encoder.source
    asked = features.text.transcribe
    if asked is not None and asked.source is not None:
        yield "transcribe-0", asked.source


def _point(link: Path, target: Path, absolute: bool) -> None:
    """Make `link` point to `target`, relative to the link unless `absolute`, so that a project can be moved."""
    text = str(target) if absolute else os.path.relpath(target, link.parent.resolve())
    if link.is_symlink() and str(link.readlink()) == text:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(text)
