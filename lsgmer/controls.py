"""Stage `controls`: what the fused model must beat. Audio only and text only, trained apart, and a linear baseline."""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch

from lsgmer import checkpoint
from lsgmer.batching import FeatureSplit
from lsgmer.fitting import check_parts, fit
from lsgmer.objective import class_weights
from lsgmer.params import Params
from lsgmer.paths import Workspace, write_atomically
from lsgmer.runtime import run_stage, set_threads


def run(workspace: Workspace, params: Params) -> None:
    """Train each control on data/features/{train,valid} and write it to data/controls/NAME."""
    set_threads(params.runtime.threads)
    features, out = workspace.data("features"), workspace.data("controls")
    train, valid = FeatureSplit.load(features / "train"), FeatureSplit.load(features / "valid")
    check_parts(train, valid)
    out.mkdir(parents=True, exist_ok=True)
    finished = []
    for name in params.controls.variants:
        if name not in train.dimensions:
            print(f"{name} only: left out, the features have no {name}")
            continue
        fitted = fit(train, valid, params, (name,), workspace.scratch)
        card = checkpoint.save(out / name, fitted.model, fitted.card)
        finished.append(fitted)
        print(f"{name} only: valid balanced accuracy {card.valid_metrics['valid_balanced_accuracy']:.3f}", flush=True)
    linear = fit_linear(train, params)
    checkpoint.save_linear(out / "linear", linear)
    notes = {"c": params.controls.linear_c, "features": "mean and sd over time per modality, presence", "n": len(train)}
    write_atomically(out / "linear" / "notes.json", json.dumps(notes, indent=2, sort_keys=True) + "\n")
    for fitted in finished:
        fitted.forget()


def fit_linear(train: FeatureSplit, params: Params) -> checkpoint.Linear:
    """Fit multinomial logistic regression (L2, strength 1 / C) on standardised pooled features.

    Classes weigh what they weigh in LSGMER's own objective: a baseline with other weights answers another question.
    A class absent from training gets an intercept of -30: never predicted, still a probability.
    """
    from sklearn.exceptions import ConvergenceWarning  # seconds, which only this baseline costs
    from sklearn.linear_model import LogisticRegression

    values = checkpoint.pooled(train)
    mean, scale = values.mean(0), values.std(0)
    scale[scale < 1e-8] = 1.0
    weights = class_weights(torch.from_numpy(train.labels), len(train.label_set), params.objective.class_weight_power)
    model = LogisticRegression(
        C=params.controls.linear_c,
        max_iter=2000,
        class_weight={int(label): float(weights[label]) for label in np.unique(train.labels)},
        random_state=params.runtime.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((values - mean) / scale, train.labels)
    coef = np.zeros((len(train.label_set), values.shape[1]))
    intercept = np.full(len(train.label_set), -30.0)
    if len(model.classes_) == 2:
        coef[model.classes_[1]], intercept[model.classes_] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        coef[model.classes_], intercept[model.classes_] = model.coef_, model.intercept_
    return checkpoint.Linear(mean, scale, coef, intercept)


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("controls", run)


if __name__ == "__main__":
    main()
