"""BERT, RoBERTa and MiniLM as frozen token encoders, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, BatchEncoding

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.params import TextEncoderParams
from lsgmer.encoders.transformer import load_transformer
from lsgmer.encoders.weights import EncoderFiles


class TextTransformer:
    """Token embeddings (T, D) of a text transformer's chosen layer or layers, start and end tokens included.

    The special tokens stay because the mean over all tokens is then the sentence embedding that MiniLM was
    trained for. Texts are encoded one at a time, without padding, so results are bit-identical alone or in a
    batch; a text of more than `max_tokens` tokens is truncated.

    With `context`, the utterances before a text are read with it, each followed by the separator, between the
    start token and the text; context beyond `max_tokens` is dropped, the earliest tokens first. Only the text's own
    tokens are returned, so T does not depend on the context.
    """

    def __init__(self, params: TextEncoderParams, files: EncoderFiles, device: str = "cpu") -> None:
        self._device = device
        self._max_tokens = params.max_tokens
        self._layers = params.layers
        self._model = load_transformer(files, max(params.layers) if params.layers else params.layer, device)
        config = self._model.config
        if not hasattr(config, "max_position_embeddings"):
            raise LsgmerError(f"{files.folder}: {config.model_type} is not a text encoder")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise LsgmerError(f"{files.folder}: no readable tokenizer: {error}") from error
        self._check_length(config, files)
        self._check_separator(params.context, files)
        self.spec = EncoderSpec(
            modality="text",
            kind="transformers",
            source=params.source,
            revision=params.revision,
            layer=params.layer,
            dimension=config.hidden_size * max(1, len(params.layers)),
            settings={
                "model_type": config.model_type,
                "max_tokens": params.max_tokens,
                "special_tokens": "kept",
                "device": device,
                "files": files.settings,
                **_chosen(params),
            },
            weights_sha256=files.weights_sha256,
            versions=library_versions(("torch", "transformers", "tokenizers")),
        )

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], before: Sequence[Sequence[str]] | None = None) -> list[np.ndarray[Any, Any]]:
        """Return token embeddings (T, D) float32 of each text, T at most `max_tokens`.

        `before` holds, per text, the earlier utterances of its dialogue, earliest first; without it, or where
        there are none, a text is read as the first of its dialogue.
        """
        earlier = before if before is not None else [()] * len(texts)
        return [self._tokens(text, lines) for text, lines in zip(texts, earlier, strict=True)]

    def _tokens(self, text: str, before: Sequence[str]) -> np.ndarray[Any, Any]:
        inputs = self._tokenizer(text, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        heard = self._heard(before)[: self._max_tokens - inputs["input_ids"].shape[1]]
        if heard:
            start, own = inputs["input_ids"].split([1, inputs["input_ids"].shape[1] - 1], dim=1)
            ids = torch.cat([start, torch.tensor([heard[::-1]]), own], dim=1)
            inputs = BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        output = self._model(**inputs.to(self._device), output_hidden_states=bool(self._layers))
        states = [output.hidden_states[i][0] for i in self._layers] or [output.last_hidden_state[0]]
        tokens = torch.cat(states, dim=-1)
        kept = torch.cat([tokens[:1], tokens[1 + len(heard) :]])
        return np.ascontiguousarray(kept.cpu().numpy(), dtype=np.float32)

    def _heard(self, before: Sequence[str]) -> list[int]:
        """Return the token ids of `before`, with a separator after each utterance, in reverse: the nearest first."""
        lines = [self._tokenizer(line, add_special_tokens=False)["input_ids"] for line in before]
        return [token for line in lines for token in (*line, self._tokenizer.sep_token_id)][::-1]

    def _check_separator(self, context: int, files: EncoderFiles) -> None:
        if context and self._tokenizer.sep_token_id is None:
            raise LsgmerError(f"{files.folder}: its tokenizer has no separator; set features.text.context to 0")

    def _check_length(self, config: Any, files: EncoderFiles) -> None:
        # RoBERTa counts positions from the one after its padding id, so two of its 514 cannot be used.
        offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
        positions = config.max_position_embeddings - offset
        if self._max_tokens > positions:
            raise LsgmerError(
                f"features.text.max_tokens: {self._max_tokens} is more than the {positions} tokens "
                f"that {files.folder} can read; lower it"
            )


def _chosen(params: TextEncoderParams) -> dict[str, Any]:
    """Return the settings that differ from their defaults; a card without a setting means its default."""
    layers = {"layers": list(params.layers)} if params.layers else {}
    return layers | ({"context": params.context} if params.context else {})
