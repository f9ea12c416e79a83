"""What is fitted on the validation split after training: a temperature, and how sure a service that abstains must be.

Temperature scaling is one number, so that probabilities are as high as they are right:

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
from lsgmer.model.train_card import Abstention, Calibration
from lsgmer.training.loader import Feeder

Array = np.ndarray[Any, Any]
BINS = 10
LARGEST = 20.0


def calibrate(logits: Array, labels: Array) -> Calibration:
    """Return the temperature with the lowest log loss of `logits` (N, C) for `labels` (N,), and what it does to ECE."""
    temperature = best_temperature(logits, labels)
    before, after = (softmax(logits / t) for t in (1.0, temperature))
    return Calibration(
        temperature=temperature,
        ece_before=expected_calibration_error(labels, before, BINS),
        ece_after=expected_calibration_error(labels, after, BINS),
    )


def threshold_for(probabilities: Array, labels: Array, risk: float) -> Abstention | None:
    """Return the lowest threshold of the largest probability at which at most `risk` of the answers are wrong.

    Selective classification at a stated risk (Geifman and El-Yaniv, arXiv 1705.08500), by its empirical risk. None
    where even the surest answers are wrong too often.

    Args:
        probabilities: (N, C).
        labels: (N,), the right class.
        risk: the largest share of wrong answers, in (0, 1).

    """
    top = probabilities.max(1)
    order = np.argsort(-top, kind="stable")
    wrong = np.cumsum(probabilities.argmax(1)[order] != labels[order])
    answered = np.arange(1, len(labels) + 1)
    last = np.append(top[order][1:] < top[order][:-1], True)  # equal probabilities are all answered, or none
    fitting = np.flatnonzero(last & (wrong <= risk * answered))
    if not len(fitting):
        return None
    place = int(fitting[-1])
    return Abstention(risk=risk, threshold=float(top[order][place]), coverage=(place + 1) / len(labels), n=len(labels))


@torch.no_grad()
def uncalibrated_logits(model: Model, valid: Feeder) -> Array:
    """Return the logits (N, C) of `model`, which is in eval mode, for `valid`; its temperature becomes 1."""
    model.temperature_scale.fill_(1.0)
    return torch.cat([model(batch).logits.double().cpu() for batch, _ in valid.in_order()]).numpy()


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
