"""Low-rank adaptation (Hu et al., 2021, arXiv 2106.09685) of the layers that learn, through peft."""

from __future__ import annotations

from typing import cast

from torch import nn

from lsgmer.core.records import Modality

TARGETS: dict[Modality, list[str]] = {"text": ["query", "value"], "audio": ["q_proj", "v_proj"]}


def add_lora(layers: nn.Module, modality: Modality, rank: int) -> None:
    """Freeze every weight and add low-rank matrices to the queries and values, which learn instead."""
    from peft import LoraConfig, inject_adapter_in_model  # seconds to import

    layers.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS[modality]), layers)


def merge_lora(layers: nn.Module) -> None:
    """Add what was learnt to the weights, so that the layers can be rebuilt and served without peft."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(layers.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            parent, _, last = name.rpartition(".")
            setattr(layers.get_submodule(parent), last, cast(nn.Module, module.get_base_layer()))
    layers.requires_grad_(True)
