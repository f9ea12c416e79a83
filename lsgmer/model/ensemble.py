"""The mean of several LSGMERs that differ in their seed alone (Lakshminarayanan et al., 2017, arXiv 1612.01474)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lsgmer.core.records import Modality
from lsgmer.features.batch import Batch
from lsgmer.model.lsgmer import LSGMER, ModalityStream, ModelOutput


class Ensemble(nn.Module):
    """A model whose probabilities and attribution are the means of its members'.

    Its logits are the logarithm of the mean probabilities, divided by the ensemble's own temperature; its fused
    vectors and label embeddings are the members' side by side. It answers wherever an LSGMER does.
    """

    temperature_scale: Tensor

    def __init__(self, members: Sequence[LSGMER]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("temperature_scale", torch.ones(()))

    @property
    def names(self) -> list[Modality]:
        """What the members read."""
        return self._first.names

    @property
    def label_embeddings(self) -> Tensor:
        """The members' label embeddings side by side, (C, M D)."""
        return torch.cat([cast(LSGMER, member).label_embeddings for member in self.members], dim=-1)

    def stream(self, name: Modality) -> ModalityStream:
        """Return the first member's stream of modality `name`; all have the training split's statistics."""
        return self._first.stream(name)

    def forward(self, batch: Batch) -> ModelOutput:
        """Return the mean of what the members put out."""
        outputs: list[ModelOutput] = [member(batch) for member in self.members]
        mean = torch.stack([output.logits.float().log_softmax(-1) for output in outputs]).logsumexp(0)  # (B, C)
        return ModelOutput(
            logits=mean.log_softmax(-1) / self.temperature_scale,
            attribution=torch.stack([output.attribution for output in outputs]).mean(0),
            fused=torch.cat([output.fused for output in outputs], dim=-1),
        )

    @property
    def _first(self) -> LSGMER:
        return cast(LSGMER, self.members[0])


Model = LSGMER | Ensemble
