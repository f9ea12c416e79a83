"""Joint Objective Optimization (JOO): classification plus Attribution-Prediction Consistency (APC)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lsgmer.model.divergence import jensen_shannon
from lsgmer.model.lsgmer import ModelOutput
from lsgmer.model.params import ObjectiveParams


@dataclass(frozen=True, slots=True)
class LossParts:
    """Scalars of the joint objective: total = classification + weight * consistency."""

    total: Tensor
    classification: Tensor
    consistency: Tensor

    def scaled(self, weight_share: Tensor | float, row_share: float, consistency_weight: float) -> LossParts:
        """Return a piece's part of its batch's loss: its share of the class weights, and of the rows for APC."""
        classification, consistency = self.classification * weight_share, self.consistency * row_share
        return LossParts(classification + consistency_weight * consistency, classification, consistency)


class JointObjective(nn.Module):
    """JOO: total = weighted cross-entropy + weight * mean JS(q, p) (arXiv 2504.05158).

    `class_weights` (C,) come from `class_weights()` on the training split.
    """

    class_weights: Tensor

    def __init__(self, params: ObjectiveParams, class_weights: Tensor) -> None:
        super().__init__()
        self.params = params
        self.register_buffer("class_weights", class_weights)

    def forward(self, output: ModelOutput, labels: Tensor) -> LossParts:
        """Return the scalar parts of the loss for `output` and class indices `labels` (B,)."""
        classification = nn.functional.cross_entropy(
            output.logits, labels, self.class_weights, label_smoothing=self.params.label_smoothing
        )
        prediction, attributed = output.logits.softmax(-1), output.attribution
        if self.params.consistency_gradient == "prediction":
            attributed = attributed.detach()
        elif self.params.consistency_gradient == "attribution":
            prediction = prediction.detach()
        consistency = attribution_prediction_consistency(attributed, prediction).mean()
        return LossParts(classification + self.params.consistency_weight * consistency, classification, consistency)


def attribution_prediction_consistency(attributed: Tensor, prediction: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence JS(q, p) in nats per row, (B,), of distributions (B, C)."""
    return jensen_shannon(attributed, prediction)


def class_weights(labels: Tensor, classes: int, power: float) -> Tensor:
    """Return weights (C,) proportional to frequency ** -power with mean 1 over the utterances `labels` (N,).

    A class that is absent from the training split gets weight 0: there is nothing to learn it from.
    """
    counts = torch.bincount(labels, minlength=classes).to(torch.float32)
    weights = torch.where(counts > 0, counts.clamp_min(1) ** -power, torch.zeros_like(counts))
    return weights * counts.sum() / (weights * counts).sum()
