"""Stage `sample`: writes the synthetic corpus to data/raw/sample, an ordinary table with FLAC files."""

from __future__ import annotations

from lsgmer.core.paths import Workspace
from lsgmer.core.sections import CorpusFolder, Part, Sections
from lsgmer.core.stage import run_stage
from lsgmer.corpora.params import SampleParams
from lsgmer.corpora.synthetic.generate import generate


class Needs(Sections):
    """What the stage reads of params.yaml."""

    corpus: Part[CorpusFolder]
    sample: SampleParams


def run(workspace: Workspace, params: Needs) -> None:
    """Write the corpus to `params.corpus.path`: all of it, or nothing."""
    generate(params.sample, workspace.root / params.corpus.path, workspace.scratch / "sample")


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("sample", run, Needs)


if __name__ == "__main__":
    main()
