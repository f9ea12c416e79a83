"""From frames to one vector per utterance: statistics over time, ignoring padding.

Shapes: B utterances, T frames or tokens, D features. `is_padding` is True where there is nothing.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lsgmer.model.params import ModelParams


class WeightedLayers(nn.Module):
    """Several layers of an encoder as one: sum_i softmax(w)_i h_i, with learnt w (Yang et al., arXiv 2105.01051)."""

    def __init__(self, layers: int, dimension: int) -> None:
        super().__init__()
        self.shape = (layers, dimension)
        self.weights = nn.Parameter(torch.zeros(layers))

    def forward(self, values: Tensor, is_padding: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames (B, T, D) of layers side by side, values (B, T, L D), and is_padding (B, T) unchanged."""
        layers = values.reshape(*values.shape[:-1], *self.shape)  # (B, T, L, D)
        return (self.weights.softmax(0).unsqueeze(-1) * layers).sum(-2), is_padding

    def shares(self) -> list[float]:
        """Return each layer's weight, softmax(w); they sum to 1."""
        return [float(share) for share in self.weights.detach().double().softmax(0)]


class StatisticsPooling(nn.Module):
    """S of the encoder's own features: a linear map of their mean, deviation and trend over time.

    Each statistic is standardised over the utterances of the training split. Pooling standardised frames is not the
    same: means vary far less between utterances than frames do. The linear baseline reads the same mean and deviation.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dimension: int, params: ModelParams) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * dimension))
        self.register_buffer("scale", torch.ones(3 * dimension))
        self.dropout = nn.Dropout(params.dropout)
        self.projection = nn.Linear(3 * dimension, params.width)

    def standardise(self, mean: Tensor, scale: Tensor) -> None:
        """Set the mean and deviation (3 D_features,) to those of `utterance_statistics` over the training split."""
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp_min(1e-5))

    def forward(self, values: Tensor, is_padding: Tensor) -> Tensor:
        """Pool features (B, T, D_features), is_padding (B, T), to (B, D)."""
        statistics = (utterance_statistics(values, is_padding) - self.mean) / self.scale
        return cast(Tensor, self.projection(self.dropout(statistics)))


def masked_statistics(values: Tensor, is_padding: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, both (B, D), of values (B, T, D) over the frames that are not padding."""
    keep = (~is_padding).to(values.dtype).unsqueeze(-1)  # (B, T, 1)
    count = keep.sum(1).clamp_min(1.0)
    mean = (values * keep).sum(1) / count
    variance = ((values - mean.unsqueeze(1)) ** 2 * keep).sum(1) / count
    return mean, (variance + 1e-5).sqrt()


def utterance_statistics(values: Tensor, is_padding: Tensor) -> Tensor:
    """Return mean, standard deviation and trend over time of values (B, T, D) side by side, (B, 3 D).

    The trend is the mean of each value's distance from its mean times its time, which runs from -1 at the
    first frame to 1 at the last.
    """
    mean, deviation = masked_statistics(values, is_padding)
    keep = (~is_padding).to(values.dtype)  # (B, T)
    count = keep.sum(1, keepdim=True)
    time = (2 * (keep.cumsum(1) - 1) / (count - 1).clamp_min(1.0) - 1) * keep
    trend = ((values - mean.unsqueeze(1)) * time.unsqueeze(-1)).sum(1) / count.clamp_min(1.0)
    return torch.cat([mean, deviation, trend], dim=-1)
