"""Stage `incumbent`: copies the champion, for the challenger to be compared with. It never reads test data."""

from __future__ import annotations

import shutil
from pathlib import Path

from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.sections import Sections
from lsgmer.core.stage import run_stage
from lsgmer.evaluation.records import Incumbent
from lsgmer.model.train_card import CARD, ENCODERS, WEIGHTS, TrainCard, load_card
from lsgmer.registry import champions
from lsgmer.registry.champions import Champion
from lsgmer.registry.layout import MODEL, PROFILE

Needs = Sections  # none: the champion is not a parameter


def run(workspace: Workspace, params: Needs) -> None:
    """Copy the champion's weights, train card and profile to data/incumbent, or say that there is none.

    The champion's pointer is not a DVC dependency, since it moves after the pipeline: this is the model that was
    champion when the challenger was trained. Packed encoders are copied only if the challenger's differ; otherwise
    the feature store fits both. Raises LsgmerError when the Bento is missing or does not match the pointer.
    """
    out = workspace.data("incumbent")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    champion = champions.read(workspace)
    if champion is None:
        found = Incumbent(champion=None, weights_sha256=None, reason="no model was promoted here yet")
    else:
        copy(champions.verified_source(workspace, champion), out, load_card(workspace.data("train")))
        found = describe(champion)
    write_atomically(out / "incumbent.json", found.to_json())
    print(f"incumbent: {found.champion or 'none'} ({found.reason})")


def describe(champion: Champion) -> Incumbent:
    """Return the content of incumbent.json for `champion`."""
    reason = "promoted in spite of its gate" if champion.forced else "promoted after its gate passed"
    return Incumbent(champion=champion.tag, weights_sha256=champion.weights_sha256, reason=reason)


def copy(source: Path, out: Path, challenger: TrainCard) -> None:
    """Copy what is needed to predict with the champion from a Bento's `source` to `out`."""
    model = source / MODEL
    for name in (WEIGHTS, CARD):
        shutil.copyfile(model / name, out / name)
    if (source / PROFILE).is_file():
        shutil.copyfile(source / PROFILE, out / "profile.json")
    card = load_card(out)
    same = all(spec is None or spec == challenger.encoders.get(name) for name, spec in card.encoders.items())
    if not same and (model / ENCODERS).is_dir():
        shutil.copytree(model / ENCODERS, out / ENCODERS, dirs_exist_ok=True)


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("incumbent", run, Needs)


if __name__ == "__main__":
    main()
