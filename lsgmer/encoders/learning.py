"""The layers of a transformer that learn with the model: cut from the pretrained one, rebuilt from a card.

The feature store holds what lies below the first layer that learns, so that it is computed once:

* text, `all` or `lora`: token ids (the embeddings learn); `last_N`: the hidden states below the last N layers. The
  last column is 1 for the text's own tokens and 0 for its context, which is read and then left out.
* audio, `all` or `lora`: the outputs of the convolutions, which stay frozen, as is usual; `last_N`: hidden states.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec, LearningSpec, Modality
from lsgmer.encoders.params import Learns
from lsgmer.encoders.transformer import blocks_name, load_transformer, quiet
from lsgmer.encoders.weights import EncoderFiles, find_files

Below = int | Literal["tokens", "convolutions"]
FORGET = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")  # says nothing about the architecture


def below(learns: Learns, modality: Modality, files: EncoderFiles, layer: int | None) -> Below | None:
    """Return what the feature store holds when `learns` is trained: a hidden state's number, or the input.

    None is the encoder's own output.

    Raises LsgmerError when the encoder has fewer layers than should learn, or cannot be entered in the middle.
    """
    if learns == "none":
        return None
    config = _config(files)
    top = config.num_hidden_layers if layer is None else layer
    if learns in ("all", "lora"):
        return "tokens" if modality == "text" else "convolutions"
    count = int(learns.removeprefix("last_"))
    if count > top:
        raise LsgmerError(f"train.finetune.{modality}: {learns}, but {files.folder} has {top} layers; use all")
    if "wavlm" in config.model_type:
        raise LsgmerError(
            f"train.finetune.{modality}: {learns}: {config.model_type} computes positions in its first layer for all "
            "others, so it cannot be entered in the middle; use all or lora"
        )
    return top - count


def demand_layers(modality: Modality, kind: str, learns: Learns) -> None:
    """Raise LsgmerError if layers of an encoder should learn whose `kind` has none that could."""
    if learns != "none" and kind != "transformers":
        raise LsgmerError(
            f"train.finetune.{modality}: {learns}: an encoder of kind {kind} has no layers that could learn; use kind "
            f"transformers, or set train.finetune.{modality} to none"
        )


def start_learning(spec: EncoderSpec, learns: Learns, root: Path) -> LearningLayers:
    """Return the layers above what `spec` stores, with their pretrained weights.

    Args:
        spec: the encoder of the feature store; its weights are checked against its hash.
        learns: which layers learn; must be what the features were extracted for.
        root: what a folder source is relative to.

    Raises:
        LsgmerError: the features were not extracted for `learns`, or the encoder's files are not the ones of `spec`.

    """
    demand_layers(spec.modality, spec.kind, learns)
    files = find_files(spec.source, spec.revision, spec.weights_sha256, root)
    start = below(learns, spec.modality, files, spec.layer)
    if spec.settings.get("below") != start:
        raise LsgmerError(
            f"the {spec.modality} features hold {spec.settings.get('below', 'the encoder output')}, but "
            f"train.finetune.{spec.modality} is {learns}, which needs {start}; run `dvc repro features`"
        )
    model = load_transformer(files, spec.layer, "cpu")
    layers = LearningLayers(model, spec.modality, cast(Below, start))
    layers.requires_grad_(True)
    return layers


def describe(layers: LearningLayers, learns: Learns) -> LearningSpec:
    """Return what a card needs to rebuild `layers` without the pretrained weights."""
    config = {k: v for k, v in layers.config.to_diff_dict().items() if k not in FORGET}
    config["model_type"] = layers.config.model_type
    return LearningSpec(
        learns=learns, below=layers.below, top=layers.top, dimension=layers.config.hidden_size, config=config
    )


def rebuild(spec: LearningSpec, modality: Modality) -> LearningLayers:
    """Return the layers that `spec`, from a card, describes, with weights still to be loaded."""
    quiet()
    config = {k: v for k, v in spec.config.items() if k != "model_type"}
    model = AutoModel.from_config(AutoConfig.for_model(spec.config["model_type"], **config), dtype=torch.float32)
    model.pooler = None
    name = blocks_name(model)
    setattr(model.encoder, name, getattr(model.encoder, name)[: spec.top])
    if spec.top < model.config.num_hidden_layers and getattr(model.config, "do_stable_layer_norm", False):
        model.encoder.layer_norm = nn.Identity()
    return LearningLayers(model, modality, cast(Below, spec.below))


class LearningLayers(nn.Module):
    """The layers from `below` to the top of a text or speech transformer: stored values to frames.

    The same values give the same frames (up to rounding) alone or in a padded batch.
    """

    def __init__(self, model: Any, modality: Modality, start: Below) -> None:
        super().__init__()
        self.modality, self.below, self.config = modality, start, model.config
        self.config.layerdrop = 0.0  # would drop whole layers at random
        self.top = len(getattr(model.encoder, blocks_name(model)))
        if isinstance(start, int):
            _enter_at(model, start)
        if modality == "audio":
            self.projection = model.feature_projection if start == "convolutions" else None
            self.encoder = model.encoder
        else:
            self.model = model

    def forward(self, values: Tensor, is_padding: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames (B, T, D) and is_padding (B, T), where context counts as padding too.

        values (B, T, D_stored) is what the feature store holds, is_padding (B, T).
        """
        # Fused attention is faster on a GPU; on a CPU its backward pass in bf16 takes longer than all the rest.
        attention = "sdpa" if values.is_cuda else "eager"
        if self.config._attn_implementation != attention:
            self.config._attn_implementation = attention
        if self.modality == "audio":
            return self._speech(values, is_padding), is_padding
        stored, own = values[..., :-1], values[..., -1] > 0.5
        return self._text(stored, is_padding), is_padding | ~own

    def _text(self, stored: Tensor, is_padding: Tensor) -> Tensor:
        mask = (~is_padding).long()
        if self.below == "tokens":
            ids = stored[..., 0].round().long().masked_fill(is_padding, self.config.pad_token_id or 0)
            return cast(Tensor, self.model(input_ids=ids, attention_mask=mask).last_hidden_state)
        return cast(Tensor, self.model(inputs_embeds=stored, attention_mask=mask).last_hidden_state)

    def _speech(self, stored: Tensor, is_padding: Tensor) -> Tensor:
        hidden = stored
        if self.projection is not None:
            projected = self.projection(stored)
            hidden = projected[0] if isinstance(projected, tuple) else projected
        # The encoder sets padded frames to zero in place: never in the caller's values.
        return cast(Tensor, self.encoder(hidden.clone(), attention_mask=~is_padding).last_hidden_state)

    def checkpoint_gradients(self) -> None:
        """Compute the layers again on the way back instead of keeping what they computed: less memory, more time."""
        for block in self._blocks():
            block.gradient_checkpointing = True
            block._gradient_checkpointing_func = _checkpointed

    def depths(self) -> Iterator[tuple[str, nn.Parameter, int]]:
        """Yield (name, parameter, depth) of every parameter that learns; the top layer has depth 0."""
        blocks = self._blocks()
        place = {id(p): len(blocks) - 1 - i for i, block in enumerate(blocks) for p in block.parameters()}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                yield name, parameter, place.get(id(parameter), len(blocks))

    def _blocks(self) -> list[Any]:
        owner = self if self.modality == "audio" else self.model
        return list(getattr(owner.encoder, blocks_name(owner)))


class _Given(nn.Module):
    """Replaces the embeddings where hidden states are given."""

    def forward(self, inputs_embeds: Tensor, **unused: Any) -> Tensor:
        """Return the given hidden states."""
        return inputs_embeds


class _Nothing(nn.Module):
    """Replaces the positions, which the lower layers have read already."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Return zeros like `hidden`."""
        return torch.zeros_like(hidden)


def _enter_at(model: Any, layer: int) -> None:
    """Drop everything that comes before hidden state `layer`."""
    encoder, name = model.encoder, blocks_name(model)
    setattr(encoder, name, getattr(encoder, name)[layer:])
    if hasattr(model, "embeddings"):
        model.embeddings = _Given()
        return
    encoder.pos_conv_embed = _Nothing()
    if not getattr(model.config, "do_stable_layer_norm", False):
        encoder.layer_norm = nn.Identity()


def _checkpointed(function: Any, *arguments: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(function, *arguments, use_reentrant=False)


def _config(files: EncoderFiles) -> Any:
    return AutoConfig.from_pretrained(files.folder, local_files_only=True)
