"""Stage `features` of experiments/dvc.yaml: validates and encodes a source's corpus once for all of its cells."""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lsgmer.core.cluster import Runtime
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.records import SPLITS, canonical_json
from lsgmer.core.sections import Part, Sections, parse, rebase
from lsgmer.core.stage import guarded
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.readers import read_corpus
from lsgmer.encoders.params import FeaturesParams, FinetunePart
from lsgmer.experiments.folds import Unit, folds
from lsgmer.experiments.plan import FOLDER, Protocol, cell_settings, load_plan, source_content
from lsgmer.manifests.params import ManifestParams
from lsgmer.manifests.utterance import Utterance
from lsgmer.stages import features, manifest, validate
from lsgmer.validation.params import ValidateParams

PAPERS = ("validation.json", "quarantine.csv")


class SourceParams(Sections):
    """What manifest, validation and features read."""

    runtime: Part[Runtime]
    corpus: CorpusParams
    manifest: ManifestParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    features: FeaturesParams
    train: Part[FinetunePart]


def prepare(root: Path, name: str) -> None:
    """Validate and encode source `name` into experiments/data/features/NAME/{train,valid,test}.

    For `official` these are the corpus's own splits; otherwise they are the protocol's first fold, which the
    validation rules are applied to, and every cell splits the utterances again. Raises LsgmerError.
    """
    source = load_plan(root).sources[name]
    content = source_content(root, source)
    workspace = Workspace(root / FOLDER / ".lsgmer" / "sources" / name)
    workspace.root.mkdir(parents=True, exist_ok=True)
    params = _rebased(content, root, workspace)
    if params.features.augment:
        raise LsgmerError(
            f"source {name}: features.augment: copies of one fold's training part would be in another's test part; "
            "studies are made without it"
        )
    if source.protocol.kind == "official":
        manifest.run(workspace, manifest.Needs.of(params))
    else:
        params = _divided(workspace, params, source.protocol)
    validate.run(workspace, validate.Needs.of(params))
    features.run(workspace, features.Needs.of(params))
    out = root / FOLDER / "data" / "features" / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for split in SPLITS:
        shutil.move(workspace.data("features") / split, out / split)
    for paper in PAPERS:
        shutil.copyfile(workspace.data("validate") / paper, out / paper)
    shutil.copyfile(workspace.data("manifest") / "rejected.csv", out / "rejected.csv")
    write_atomically(out / "source.json", canonical_json(cell_settings(root, source)) + "\n")


def _divided(workspace: Workspace, params: SourceParams, protocol: Protocol) -> SourceParams:
    """Write the manifest with the splits of the protocol's first fold; return params whose validation fits it."""
    by = "session" if protocol.by == "session" else "speaker"
    apart = protocol if protocol.kind in ("loso", "holdout") else Protocol(kind="loso", by=protocol.by)
    reading = read_corpus(params.corpus, workspace.root / params.corpus.path)
    found = tuple(sorted(reading.utterances, key=lambda u: u.id))
    if params.features.text.context and protocol.kind in ("loso", "holdout"):
        demand_whole_dialogues(found, protocol.by)
    fold = folds([Unit(u.speaker, u.session, u.split) for u in found], apart)[0]
    place = {int(row): split for split in SPLITS for row in fold.of(split)}
    divided = tuple(replace(u, split=place[row]) for row, u in enumerate(found))
    manifest.write(workspace, manifest.Needs.of(params), divided, reading)
    return params.model_copy(update={"manifest": params.manifest.model_copy(update={"split": by})})


def demand_whole_dialogues(utterances: Sequence[Utterance], by: Literal["speaker", "session"]) -> None:
    """Raise LsgmerError for dialogues of several speakers (sessions): context would cross from test into training.

    The source is encoded once for all folds, so whatever a text is read with must be on its side in every fold.
    """
    groups: dict[str, set[str | None]] = defaultdict(set)
    for u in utterances:
        if u.dialogue is not None:
            groups[u.dialogue].add(getattr(u, by))
    split_up = sorted(name for name, found in groups.items() if len(found) > 1)
    if split_up:
        raise LsgmerError(
            f"features.text.context: {len(split_up)} dialogues have more than one {by}, such as {split_up[:3]}: in "
            "some fold one would train and the other test, and a text would be read with words from the other side. "
            "Divide by session, where a dialogue stays in one session, or set the context to 0"
        )


def _rebased(content: dict[str, Any], root: Path, workspace: Workspace) -> SourceParams:
    """Return `content` checked, with folders relative to `workspace`, where the stages run."""
    rebased = rebase(content, root, workspace.root)
    rebased["corpus"]["path"] = os.path.relpath((root / content["corpus"]["path"]).resolve(), workspace.root.resolve())
    return parse(SourceParams.pick(rebased), SourceParams, "params of the source")


def main() -> None:
    """Prepare the source named on the command line; the current folder is the project's experiments/."""
    name = sys.argv[1]
    guarded(f"features-{name}", lambda workspace: prepare(workspace.root.parent, name))


if __name__ == "__main__":
    main()
