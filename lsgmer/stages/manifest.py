"""Stage `manifest`: reads a corpus into utterances and assigns each to a split."""

from __future__ import annotations

from collections import Counter

from pydantic import model_validator

from lsgmer.core.paths import Workspace
from lsgmer.core.sections import Sections
from lsgmer.core.stage import run_stage
from lsgmer.corpora.params import CorpusParams, demand_split_fits
from lsgmer.corpora.readers import read_corpus
from lsgmer.manifests.manifest import SHOWN, Manifest
from lsgmer.manifests.params import ManifestParams
from lsgmer.manifests.splits import assign_splits, demand_every_split
from lsgmer.manifests.utterance import CorpusReading, Utterance


class Needs(Sections):
    """What the stage reads of params.yaml."""

    corpus: CorpusParams
    manifest: ManifestParams

    @model_validator(mode="after")
    def _split_fits_the_corpus(self) -> Needs:
        demand_split_fits(self.corpus, self.manifest)
        return self


def run(workspace: Workspace, params: Needs) -> None:
    """Read the corpus, give every utterance its split, and write data/manifest."""
    reading = read_corpus(params.corpus, workspace.root / params.corpus.path)
    utterances = assign_splits(sorted(reading.utterances, key=lambda u: u.id), params.manifest)
    demand_every_split(utterances, params.manifest)
    write(workspace, params, utterances, reading)


def write(workspace: Workspace, params: Needs, utterances: tuple[Utterance, ...], reading: CorpusReading) -> None:
    """Write data/manifest from `utterances`, each with its split, and print what `reading` left out or repaired."""
    manifest = Manifest(utterances, params.corpus.label_set, params.corpus.name)
    manifest.save(workspace.data("manifest"), reading.rejected, reading.notes)
    splits = ", ".join(f"{count} {split}" for split, count in manifest.counts()["splits"].items())
    print(f"manifest: {len(utterances)} utterances ({splits}), {len(reading.rejected)} rejected", flush=True)
    for reason, count in Counter(row.reason for row in reading.rejected).most_common(SHOWN):
        print(f"manifest:   rejected {count} x {reason}", flush=True)
    for note in reading.notes:
        named = ", ".join(note.rows[:SHOWN]) + (", ..." if len(note.rows) > SHOWN else "")
        print(f"manifest:   note: {len(note.rows)} x {note.what}: {named}", flush=True)


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("manifest", run, Needs)


if __name__ == "__main__":
    main()
