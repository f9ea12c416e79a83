"""LSGMER: label-guided fusion of speech and text (arXiv 2504.05158), one file, read top to bottom.

Shapes: B utterances, T frames or tokens, C labels, D width. `is_padding` is True where there is nothing.
What the paper leaves open and what we chose: docs/decisions/0003-model.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lsgmer.core.records import MODALITIES, Modality
from lsgmer.features.batch import Batch, ModalityBatch
from lsgmer.model.params import ModelParams
from lsgmer.model.pooling import StatisticsPooling, masked_statistics


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """logits (B, C); attribution (B, C), the distribution q over labels; fused (B, D)."""

    logits: Tensor
    attribution: Tensor
    fused: Tensor


class LSGMER(nn.Module):
    """The label-guided model of either or both modalities.

    `dimensions` gives each modality's feature size; the model has no branch for a modality that is not in it.
    `learning` holds the encoder layers that are part of the model: they turn what is stored (values, is_padding)
    into frames (B, T, D) of the size in `dimensions`, and say which of these count.
    """

    temperature_scale: Tensor

    def __init__(
        self,
        params: ModelParams,
        labels: int,
        dimensions: dict[Modality, int],
        learning: Mapping[Modality, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not dimensions:
            raise ValueError("a model needs at least one modality")
        names = [name for name in MODALITIES if name in dimensions]
        self.temperature = params.temperature
        self.learning = nn.ModuleDict({str(name): layers for name, layers in (learning or {}).items()})
        self.streams = nn.ModuleDict({name: ModalityStream(dimensions[name], params) for name in names})
        self.memory = LabelMemory(labels, params.width, params.label_decay)
        self.enhance = nn.ModuleDict({name: ENHANCEMENTS[params.enhancement](params) for name in names})
        self.fusion = FUSIONS[params.fusion](names, params)
        self.scorer = LabelScorer(params)
        self.register_buffer("temperature_scale", torch.ones(()))

    def start_labels(self, label_text: Tensor) -> None:
        """Initialise the label memory with descriptions (C, D_text) from the text encoder, through its projection."""
        self.memory.start(self.stream("text").project(label_text))

    @property
    def names(self) -> list[Modality]:
        """What the model reads."""
        return self.fusion.names

    @property
    def label_embeddings(self) -> Tensor:
        """Label embeddings (C, D) as a trained model uses them."""
        return self.memory.shadow

    def stream(self, name: Modality) -> ModalityStream:
        """Return the stream of modality `name`."""
        return cast(ModalityStream, self.streams[name])

    def frames(self, name: Modality, given: ModalityBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return a modality's frames (B, T, D), is_padding (B, T) and which rows have it (B,): see `attendable`."""
        is_padding, present = attendable(given.is_padding)
        values = given.values
        if name in self.learning:
            values, is_padding = self.learning[name](values, is_padding)
            is_padding, _ = attendable(is_padding)
        return values, is_padding, present

    def forward(self, batch: Batch) -> ModelOutput:
        """Score every label from its own view of the utterance; attribute by cosine to the label embeddings.

        A modality that an utterance lacks is all padding; it is masked out, never read as zeros. The output for an
        utterance with no modality at all means nothing: callers reject or replace it (see lsgmer/inference).
        """
        guide = self.memory.guide()  # (C, D)
        views: dict[Modality, Tensor] = {}
        present: dict[Modality, Tensor] = {}
        for name in self.names:
            given: ModalityBatch | None = getattr(batch, name)
            if given is None:
                continue
            values, is_padding, present[name] = self.frames(name, given)
            stream = self.stream(name)
            projected, contextual = stream(values, is_padding)  # 2 x (B, T, D)
            pooled = stream.pooling(values, is_padding) if stream.pooling else None  # (B, D)
            views[name] = self.enhance[name](guide, projected, contextual, is_padding, pooled)  # (B, C, D)
        per_label = self.fusion(views, present)  # (B, C, D)
        logits = self.scorer(per_label, guide)  # (B, C)
        fused = (logits.softmax(-1).unsqueeze(-1) * per_label).sum(1)  # (B, D)
        if not self.training:
            logits = logits / self.temperature_scale
        return ModelOutput(logits, attribution(fused, self.memory.reference(), self.temperature), fused)


class ModalityStream(nn.Module):
    """H_m0 = linear projection of standardised encoder features; H_m1 = self-attention over H_m0."""

    mean: Tensor
    scale: Tensor
    level_mean: Tensor  # of the training split's frames before the levels of speakers were removed, for unknown ones
    level_deviation: Tensor

    def __init__(self, dimension: int, params: ModelParams) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))
        self.register_buffer("level_mean", torch.zeros(dimension, dtype=torch.float64))
        self.register_buffer("level_deviation", torch.ones(dimension, dtype=torch.float64))
        self.projection = nn.Linear(dimension, params.width)
        self.dropout = nn.Dropout(params.dropout)
        self.layers = nn.ModuleList(_self_attention(params) for _ in range(params.layers))
        self.pooling = StatisticsPooling(dimension, params) if params.statistics == "input" else None

    def standardise(self, mean: Tensor, scale: Tensor) -> None:
        """Set the mean and standard deviation (D_features,) to those of the training split's frames."""
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp_min(1e-5))

    def project(self, values: Tensor) -> Tensor:
        """Project features (..., D_features) to (..., D)."""
        return cast(Tensor, self.projection((values - self.mean) / self.scale))

    def forward(self, values: Tensor, is_padding: Tensor) -> tuple[Tensor, Tensor]:
        """Return H_m0 and H_m1, both (B, T, D)."""
        projected = self.dropout(self.project(values))
        contextual = projected
        for layer in self.layers:
            contextual = layer(contextual, src_key_padding_mask=is_padding)
        return projected, contextual


class LabelMemory(nn.Module):
    """Label embeddings and their moving average L_t = alpha L_(t-1) + (1 - alpha) L'_(t-1).

    The average is a shadow copy, kept apart from the parameter L': overwriting the parameter would shrink each
    optimiser step to 1 - alpha of its size. `update` is called after each optimiser step, in training only.
    """

    shadow: Tensor

    def __init__(self, labels: int, width: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.embedding = nn.Parameter(torch.randn(labels, width) / width**0.5)
        self.register_buffer("shadow", self.embedding.detach().clone())

    @torch.no_grad()
    def start(self, embedding: Tensor) -> None:
        """Initialise both with `embedding` (C, D), centred and scaled to unit length."""
        unit = nn.functional.normalize(embedding.detach() - embedding.detach().mean(0), dim=-1)
        self.embedding.copy_(unit)
        self.shadow.copy_(unit)

    def guide(self) -> Tensor:
        """Return (C, D) as LSE reads them: the shadow's values, with the gradient going to the parameter."""
        return self.shadow + (self.embedding - self.embedding.detach())

    def reference(self) -> Tensor:
        """Return (C, D) as the attribution reads them: the parameter in training, the shadow otherwise."""
        return self.embedding if self.training else self.shadow

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the parameter by 1 - alpha."""
        self.shadow.mul_(self.decay).add_(self.embedding, alpha=1 - self.decay)


class LabelSignalEnhancement(nn.Module):
    """LSE: H_m2 = Attention(L, H_m1, H_m1); w = sigmoid(H_m2); H_m = w * S(H_m0) + H_m2.

    S pools H_m0 over time: its mean plus a linear map of its standard deviation (statistics pooling).
    """

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(params.width, params.heads, params.dropout, batch_first=True)
        self.spread = nn.Linear(params.width, params.width)

    def forward(
        self, labels: Tensor, projected: Tensor, contextual: Tensor, is_padding: Tensor, pooled: Tensor | None = None
    ) -> Tensor:
        """Attend from each label to the frames. labels (C, D), projected H_m0 and contextual H_m1 (B, T, D),
        is_padding (B, T), pooled (B, D), which is S(H_m0). Returns one view of the utterance per label, (B, C, D).
        """  # noqa: D205
        query = labels.expand(len(projected), -1, -1)  # (B, C, D)
        enhanced, _ = self.attention(query, contextual, contextual, is_padding, need_weights=False)  # (B, C, D)
        if pooled is None:
            mean, deviation = masked_statistics(projected, is_padding)  # 2 x (B, D)
            pooled = mean + self.spread(deviation)
        fused: Tensor = enhanced.sigmoid() * pooled.unsqueeze(1) + enhanced
        return fused


class PooledSummary(nn.Module):
    """The ablation of LSE: every label sees the same S(H_m0), its mean plus a linear map of its deviation."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.spread = nn.Linear(params.width, params.width)

    def forward(
        self, labels: Tensor, projected: Tensor, contextual: Tensor, is_padding: Tensor, pooled: Tensor | None = None
    ) -> Tensor:
        """Pool contextual H_m1 (B, T, D) over time, whatever the labels (C, D) are. Returns (B, C, D)."""
        mean, deviation = masked_statistics(contextual, is_padding)  # 2 x (B, D)
        summary: Tensor = pooled if pooled is not None else mean + self.spread(deviation)
        return summary.unsqueeze(1).expand(-1, len(labels), -1)


class GatedFusion(nn.Module):
    """Attention over the modalities that are present, separately for each label; they do not attend to each other."""

    def __init__(self, names: list[Modality], params: ModelParams) -> None:
        super().__init__()
        self.names = names
        self.norms = nn.ModuleDict({name: nn.LayerNorm(params.width) for name in names})
        self.importance = nn.ModuleDict({name: nn.Linear(params.width, 1) for name in names})

    def forward(self, views: dict[Modality, Tensor], present: dict[Modality, Tensor]) -> Tensor:
        """Fuse `views` (B, C, D) per modality, `present` (B,) bool per modality, to (B, C, D)."""
        normed = {name: self.norms[name](view) for name, view in views.items()}
        scores = torch.cat([self.importance[name](view) for name, view in normed.items()], dim=-1)  # (B, C, M)
        absent = ~torch.stack([present[name] for name in views], dim=-1)  # (B, M)
        weights = scores.masked_fill(absent.unsqueeze(1), torch.finfo(scores.dtype).min).softmax(-1)
        return (weights.unsqueeze(-1) * torch.stack(list(normed.values()), dim=2)).sum(2)


class CrossModalFusion(nn.Module):
    """Cross-attention between the label views of both modalities, in both directions, then `GatedFusion`."""

    def __init__(self, names: list[Modality], params: ModelParams) -> None:
        super().__init__()
        self.names = names
        self.cross = nn.ModuleDict(
            {
                name: nn.MultiheadAttention(params.width, params.heads, params.dropout, batch_first=True)
                for name in (names if len(names) > 1 else [])
            }
        )
        self.gate = GatedFusion(names, params)

    def forward(self, views: dict[Modality, Tensor], present: dict[Modality, Tensor]) -> Tensor:
        """Fuse `views` (B, C, D) per modality, `present` (B,) bool per modality, to (B, C, D)."""
        mixed = {}
        for name, view in views.items():
            for other in (other for other in views if other != name):
                heard, _ = self.cross[name](view, views[other], views[other], need_weights=False)
                view = view + present[other].to(view.dtype)[:, None, None] * heard
            mixed[name] = view
        fused: Tensor = self.gate(mixed, present)
        return fused


class ConcatenatedFusion(nn.Module):
    """One linear map of the concatenated label views of all modalities; a learnt vector replaces an absent one."""

    def __init__(self, names: list[Modality], params: ModelParams) -> None:
        super().__init__()
        self.names = names
        self.norms = nn.ModuleDict({name: nn.LayerNorm(params.width) for name in names})
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.zeros(params.width)) for name in names})
        self.mix = nn.Linear(len(names) * params.width, params.width)

    def forward(self, views: dict[Modality, Tensor], present: dict[Modality, Tensor]) -> Tensor:
        """Fuse `views` (B, C, D) per modality, `present` (B,) bool per modality, to (B, C, D)."""
        like = next(iter(views.values()))
        parts = []
        for name in self.names:
            absent = self.absent[name].expand_as(like)
            if name in views:
                absent = torch.where(present[name][:, None, None], self.norms[name](views[name]), absent)
            parts.append(absent)
        return cast(Tensor, self.mix(torch.cat(parts, dim=-1)))


class LabelScorer(nn.Module):
    """One logit per label from that label's own view; weights are shared, so permuting labels permutes logits."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(params.width),
            nn.Linear(params.width, params.width),
            nn.GELU(),
            nn.Dropout(params.dropout),
            nn.Linear(params.width, 1),
        )
        self.affinity = nn.Linear(params.width, params.width)

    def forward(self, per_label: Tensor, labels: Tensor) -> Tensor:
        """Score views (B, C, D) against label embeddings (C, D). Returns logits (B, C)."""
        own = self.layers(per_label).squeeze(-1)  # (B, C)
        affinity = (self.affinity(per_label) * labels).sum(-1)  # (B, C)
        return cast(Tensor, own + affinity)


ENHANCEMENTS: dict[str, type[nn.Module]] = {"labels": LabelSignalEnhancement, "none": PooledSummary}
FUSIONS: dict[str, type[CrossModalFusion | GatedFusion | ConcatenatedFusion]] = {
    "cross": CrossModalFusion,
    "gated": GatedFusion,
    "concatenation": ConcatenatedFusion,
}


def attribution(fused: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return q = softmax_j(cos(H, L_j) / tau), (B, C), for fused H (B, D) and labels L (C, D)."""
    similarity = nn.functional.cosine_similarity(fused.unsqueeze(1), labels.unsqueeze(0), dim=-1)  # (B, C)
    return (similarity / temperature).softmax(-1)


def _self_attention(params: ModelParams) -> nn.TransformerEncoderLayer:
    """Return one pre-norm self-attention layer, without dropout of its T x T weights: it took a quarter of a step."""
    layer = nn.TransformerEncoderLayer(
        params.width, params.heads, 2 * params.width, params.dropout, batch_first=True, norm_first=True
    )
    layer.self_attn.dropout = 0.0
    return layer


def attendable(is_padding: Tensor) -> tuple[Tensor, Tensor]:
    """Return (is_padding, present): a row that is all padding gets one unmasked frame, to keep softmax finite.

    Whatever that frame holds is masked out later by `present` (B,), False for such a row.
    """
    present = ~is_padding.all(1)
    opened = is_padding.clone()
    opened[:, 0] &= present
    return opened, present
