"""BERT, RoBERTa and MiniLM as frozen token encoders, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from lsgmer.encoders.sources import EncoderFiles
from lsgmer.encoders.transformer import load_transformer
from lsgmer.errors import LsgmerError
from lsgmer.lineage import library_versions
from lsgmer.params import TextEncoderParams
from lsgmer.types import EncoderSpec


class TextTransformer:
    """Token embeddings (T, D) of a text transformer's chosen layer, start and end tokens included.

    The special tokens stay because the mean over all tokens is then the sentence embedding that MiniLM was
    trained for. Texts go through one at a time, so there is no padding and alone equals in a batch bit by
    bit; a text of more than `max_tokens` tokens is cut.
    """

    def __init__(self, params: TextEncoderParams, files: EncoderFiles, device: str = "cpu") -> None:
        self._device = device
        self._max_tokens = params.max_tokens
        self._model = load_transformer(files, params.layer, device)
        config = self._model.config
        if not hasattr(config, "max_position_embeddings"):
            raise LsgmerError(f"{files.folder}: {config.model_type} is not a text encoder")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise LsgmerError(f"{files.folder}: no readable tokenizer: {error}") from error
        self._check_length(config, files)
        self.spec = EncoderSpec(
            modality="text",
            kind="transformers",
            source=params.source,
            revision=params.revision,
            layer=params.layer,
            dimension=config.hidden_size,
            settings={
                "model_type": config.model_type,
                "max_tokens": params.max_tokens,
                "special_tokens": "kept",
                "device": device,
                "files": files.settings,
            },
            weights_sha256=files.weights_sha256,
            versions=library_versions(("torch", "transformers", "tokenizers")),
        )

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
        """Return token embeddings (T, D) float32 of each text, T at most `max_tokens`."""
        return [self._tokens(text) for text in texts]

    def _tokens(self, text: str) -> np.ndarray[Any, Any]:
        inputs = self._tokenizer(text, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        tokens = self._model(**inputs.to(self._device)).last_hidden_state[0]
        return np.ascontiguousarray(tokens.cpu().numpy(), dtype=np.float32)

    def _check_length(self, config: Any, files: EncoderFiles) -> None:
        # RoBERTa counts positions from behind its padding id, so two of its 514 cannot be used.
        offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
        positions = config.max_position_embeddings - offset
        if self._max_tokens > positions:
            raise LsgmerError(
                f"features.text.max_tokens: {self._max_tokens} is more than the {positions} tokens "
                f"that {files.folder} can read; lower it"
            )
