"""Stage `controls`: what the fused model must beat: separate audio-only and text-only models, a linear baseline."""

from __future__ import annotations

import json
from pathlib import Path

from lsgmer.core.device import set_threads
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.stage import run_stage
from lsgmer.features.store import FeatureSplit
from lsgmer.model import checkpoint
from lsgmer.model.linear import choose_linear, save_linear
from lsgmer.training.fit import check_parts, fit
from lsgmer.training.launch import is_first, on_all
from lsgmer.training.params import ControlsParams, TrainingSections


class Needs(TrainingSections):
    """What the stage reads of params.yaml."""

    controls: ControlsParams


def run(workspace: Workspace, params: Needs) -> None:
    """Train each control on data/features/{train,valid} and write it to data/controls/NAME."""
    if on_all("lsgmer.stages.controls", params.runtime):
        return
    set_threads(params.runtime.threads)
    features, out = workspace.data("features"), workspace.data("controls")
    train, valid = FeatureSplit.load(features / "train"), FeatureSplit.load(features / "valid")
    check_parts(train, valid)
    out.mkdir(parents=True, exist_ok=True)
    finished = []
    for name in params.controls.variants:
        if name not in train.dimensions:
            print(f"{name} only: skipped, the features have no {name}")
            continue
        fitted = fit(train, valid, params, (name,), workspace.scratch, root=workspace.root)
        if not is_first():
            continue
        card = checkpoint.save(out / name, fitted.model, fitted.card)
        finished.append(fitted)
        print(f"{name} only: valid balanced accuracy {card.valid_metrics['valid_balanced_accuracy']:.3f}", flush=True)
    if not is_first():
        return
    _linear(train, valid, params, out / "linear")
    for fitted in finished:
        fitted.forget()


def _linear(train: FeatureSplit, valid: FeatureSplit, params: Needs, out: Path) -> None:
    """Write the linear baseline, and in notes.json how its penalty was chosen."""
    metric, power = params.train.select, params.objective.class_weight_power
    chosen = choose_linear(train, valid, params.controls.linear_c, power, params.runtime.seed, metric)
    save_linear(out, chosen.model)
    notes = {
        "c": chosen.c,
        "chosen_by": f"valid {metric}",
        "candidates": [each.model_dump() for each in chosen.candidates],
        "features": "mean and sd over time per modality, presence",
        "n": len(train),
    }
    write_atomically(out / "notes.json", json.dumps(notes, indent=2, sort_keys=True) + "\n")
    score = max(each.score for each in chosen.candidates)
    print(f"linear: C = {chosen.c:g}, valid {metric.replace('_', ' ')} {score:.3f}", flush=True)


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("controls", run, Needs)


if __name__ == "__main__":
    main()
