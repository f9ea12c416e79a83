"""Stage `train`: trains the fused model, on the train and valid features only."""

from __future__ import annotations

import shutil
from pathlib import Path

from dvclive import Live

from lsgmer.core.device import set_threads
from lsgmer.core.paths import Workspace
from lsgmer.core.records import MODALITIES
from lsgmer.core.stage import run_stage
from lsgmer.features.store import FeatureSplit
from lsgmer.model import checkpoint
from lsgmer.training.fit import fit
from lsgmer.training.launch import is_first, on_all
from lsgmer.training.params import TrainingSections

Needs = TrainingSections


def run(workspace: Workspace, params: Needs) -> None:
    """Train on data/features/{train,valid} and write weights, card, and DVCLive's metrics and plots to data/train."""
    if on_all("lsgmer.stages.train", params.runtime):
        return
    set_threads(params.runtime.threads)
    features, out = workspace.data("features"), workspace.data("train")
    train, valid = FeatureSplit.load(features / "train"), FeatureSplit.load(features / "valid")
    if not is_first():
        fit(train, valid, params, MODALITIES, workspace.scratch, root=workspace.root)
        return
    out.mkdir(parents=True, exist_ok=True)
    with _live(out / "live") as live:

        def log(row: dict[str, float]) -> None:
            for name, value in row.items():
                if name not in ("epoch", "member"):
                    live.log_metric(name, value)
            live.next_step()
            member = f"member {row['member'] + 1:.0f}, " if "member" in row else ""
            losses = f"train loss {row['train_loss']:.3f}, valid loss {row['valid_loss']:.3f}"
            score = f"valid balanced accuracy {row['valid_balanced_accuracy']:.3f}"
            print(f"{member}epoch {row['epoch']:.0f}: {losses}, {score}", flush=True)

        fitted = fit(train, valid, params, MODALITIES, workspace.scratch, log, workspace.root)
    card = checkpoint.save(out, fitted.model, fitted.card)
    fitted.forget()
    kept = [f"{member.best_epoch} of {member.epochs_run}" for member in card.members or (card,)]
    print(
        f"{card.variant}: {card.parameters:,} parameters, best epoch {', '.join(kept)}, "
        f"valid balanced accuracy {card.valid_metrics['valid_balanced_accuracy']:.3f}"
    )
    if card.calibration:
        found = card.calibration
        print(
            f"temperature {found.temperature:.3f}: valid ECE {found.ece_before:.3f} before, {found.ece_after:.3f} after"
        )


def _live(folder: Path) -> Live:
    """Return a DVCLive log that writes files and nothing else: no experiment, no report, no dvc.yaml."""
    shutil.rmtree(folder, ignore_errors=True)
    return Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("train", run, Needs)


if __name__ == "__main__":
    main()
