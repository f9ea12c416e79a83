"""Stage `controls`: what the fused model must beat: separate audio-only and text-only models, a linear baseline."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from lsgmer.core.device import choose_device, cores, set_threads
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.process import apply_environment, end_with_parent, is_rank
from lsgmer.core.records import Modality
from lsgmer.core.sections import RuntimeParams
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
    """Train each control on data/features/{train,valid} and write it to data/controls/NAME.

    On a CPU with the cores for it, they are trained side by side, each in a process of its own, to the same bits.
    """
    if on_all("lsgmer.stages.controls", params.runtime):
        return
    set_threads(params.runtime.threads)
    features, out = workspace.data("features"), workspace.data("controls")
    train, valid = FeatureSplit.load(features / "train"), FeatureSplit.load(features / "valid")
    check_parts(train, valid)
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in params.controls.variants if name in train.dimensions]
    for name in sorted(set(params.controls.variants) - set(names)):
        print(f"{name} only: skipped, the features have no {name}")
    if is_apart(params.runtime, len(names)):
        with ExitStack() as stack:
            started = {name: stack.enter_context(_process(workspace, params, name)) for name in names}
            _linear(train, valid, params, out / "linear")
            states = [state for name, receiver in started.items() for state in _states(receiver, name)]
    else:
        states = [state for name in names for state in train_one(workspace, params, name)]
        if is_first():
            _linear(train, valid, params, out / "linear")
    for state in states:
        state.unlink(missing_ok=True)


def is_apart(runtime: RuntimeParams, count: int) -> bool:
    """Return whether `count` models are trained in a process each: on a CPU, with a core for each of its threads."""
    alone = runtime.processes == 1 and not is_rank() and choose_device(runtime.device).type == "cpu"
    return alone and count > 1 and cores() >= count * runtime.threads


def train_one(workspace: Workspace, params: Needs, name: Modality) -> tuple[Path, ...]:
    """Train one control and write it; return the files from which its training would be resumed."""
    set_threads(params.runtime.threads)
    features, out = workspace.data("features"), workspace.data("controls")
    train, valid = FeatureSplit.load(features / "train"), FeatureSplit.load(features / "valid")
    fitted = fit(train, valid, params, (name,), workspace.scratch, root=workspace.root)
    if not is_first():
        return ()
    card = checkpoint.save(out / name, fitted.model, fitted.card)
    print(f"{name} only: valid balanced accuracy {card.valid_metrics['valid_balanced_accuracy']:.3f}", flush=True)
    return fitted.states


@contextmanager
def _process(workspace: Workspace, params: Needs, name: Modality) -> Iterator[Connection]:
    """Train a control in a process of its own, which ends with this one; yield where it says that it is done."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(workspace, params, name, sender), name=name)
    process.start()
    sender.close()
    try:
        yield receiver
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _work(workspace: Workspace, params: Needs, name: Modality, sender: Connection) -> None:
    """Train in a process of its own; send (files, None), or (None, the reason for a failure)."""
    apply_environment()
    end_with_parent()
    try:
        sender.send((train_one(workspace, params, name), None))
    except LsgmerError as error:
        sender.send((None, str(error)))
    except KeyboardInterrupt:
        return  # the state of the last epoch is in scratch


def _states(receiver: Connection, name: Modality) -> tuple[Path, ...]:
    try:
        states, problem = receiver.recv()
    except EOFError:
        raise LsgmerError(
            f"controls: training with {name} alone ended: see the lines above; run the same command again to resume it"
        ) from None
    if problem is not None:
        raise LsgmerError(problem)
    return tuple(states)


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
