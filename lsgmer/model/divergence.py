"""Divergences of distributions over labels, in nats."""

from __future__ import annotations

import torch
from torch import Tensor


def kullback_leibler(left: Tensor, right: Tensor) -> Tensor:
    """Return KL(left || right) per row, (B,), of distributions (B, C); 0 log 0 counts as 0."""
    tiny = torch.finfo(left.dtype).tiny
    return (left * (left.clamp_min(tiny).log() - right.clamp_min(tiny).log())).sum(-1)


def jensen_shannon(left: Tensor, right: Tensor) -> Tensor:
    """Return JS(left, right) per row, (B,), of distributions (B, C): zero for equal rows, at most ln 2.

    JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2.
    """
    middle = (left + right) / 2
    return (kullback_leibler(left, middle) + kullback_leibler(right, middle)) / 2
