"""Temperature scaling: one number, fitted on the validation split, so that probabilities are as high as they are right.

Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lsgmer.metrics import expected_calibration_error
from lsgmer.model.ensemble import Model
from lsgmer.model.logistic import softmax
from lsgmer.model.train_card import Calibration
from lsgmer.training.loader import Feeder

Array = np.ndarray[Any, Any]
BINS = 10
LARGEST = 20.0


@torch.no_grad()
def calibrate(model: Model, valid: Feeder) -> Calibration:
    """Set the temperature of `model`, which is in eval mode, to the one with the lowest log loss on `valid`."""
    model.temperature_scale.fill_(1.0)
    logits = torch.cat([model(batch).logits.double().cpu() for batch, _ in valid.in_order()]).numpy()
    temperature = best_temperature(logits, valid.labels)
    model.temperature_scale.fill_(temperature)
    before, after = (softmax(logits / t) for t in (1.0, temperature))
    return Calibration(
        temperature=temperature,
        ece_before=expected_calibration_error(valid.labels, before, BINS),
        ece_after=expected_calibration_error(valid.labels, after, BINS),
    )


def best_temperature(logits: Array, labels: Array) -> float:
    """Return the temperature in [1, 20] with the lowest log loss of `logits` (N, C) for `labels` (N,).

    Never below 1: the validation split chose the epoch and its speakers are few, so it looks easier than new speakers
    are, and a model must not be made surer because of that (docs/decisions/0018-calibration.md has the numbers).
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        top = scaled.max(1)
        normaliser = top + np.log(np.exp(scaled - top[:, None]).sum(1))
        return float((normaliser - scaled[np.arange(len(labels)), labels]).mean())

    edge = math.log(LARGEST)
    found = minimize_scalar(loss, bounds=(0.0, edge), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))
