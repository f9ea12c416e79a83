"""What the speech and the text encoders share: loading a frozen transformer, truncated after a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel
from transformers.utils import logging

from lsgmer.core.errors import LsgmerError
from lsgmer.encoders.weights import EncoderFiles

# Weights that a checkpoint may lack: no frame or token embedding depends on them.
UNUSED = ("pooler.", "masked_spec_embed")


def load_transformer(files: EncoderFiles, layer: int | None, device: str) -> Any:
    """Return the frozen float32 model in eval mode, truncated after `layer` (None: its own last output).

    Output `last_hidden_state` then equals the full model's `hidden_states[layer]`; 0 is the input of the
    first block. Raises LsgmerError if weights are missing or the model has no such layer.
    """
    model = load_frozen(AutoModel, files.folder, "encoder", device, UNUSED)
    _cut(model, layer, files)
    return model


def load_frozen(kind: Any, folder: Path, called: str, device: str, unused: tuple[str, ...] = ()) -> Any:
    """Return the float32 model in `folder`, in eval mode and without gradients.

    Args:
        kind: the class of transformers that reads it, such as AutoModel.
        folder: holds the configuration and safetensors weights; nothing else is read, and no code in it is run.
        called: what it is, for an error.
        device: where it is put.
        unused: beginnings of the names of weights that may be missing.

    Raises:
        LsgmerError: it cannot be loaded, or weights are missing.

    """
    quiet()
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise LsgmerError(f"{folder}: transformers cannot load this {called}: {error}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(unused))
    if missing:
        raise LsgmerError(f"{folder}: {len(missing)} weights are missing and would be random: {missing[:3]} ...")
    return model.eval().requires_grad_(False).to(device)


def quiet() -> None:
    """Keep transformers' load reports and progress bars out of the stage's log."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def blocks_name(model: Any) -> str:
    """Return the attribute of `model.encoder` that holds the list of its layers."""
    return "layers" if hasattr(model.encoder, "layers") else "layer"


def _cut(model: Any, layer: int | None, files: EncoderFiles) -> None:
    """Drop every block after `layer`, and whatever follows the blocks."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if layer is None:
        return
    encoder, name = model.encoder, blocks_name(model)
    blocks = getattr(encoder, name, None)
    if not isinstance(blocks, nn.ModuleList):
        raise LsgmerError(
            f"{files.folder}: a {model.config.model_type} has no list of layers to stop at; leave layer out"
        )
    if not 0 <= layer <= len(blocks):
        raise LsgmerError(f"{files.folder}: layer {layer} does not exist; this encoder has 0 to {len(blocks)}")
    setattr(encoder, name, blocks[:layer])
    if getattr(model.config, "do_stable_layer_norm", False):
        encoder.layer_norm = nn.Identity()  # pre-norm models normalise after the last block only
    if getattr(model, "adapter", None) is not None:
        model.adapter = None
