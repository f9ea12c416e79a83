"""BERT, RoBERTa and MiniLM as frozen token encoders, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, BatchEncoding

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.context import Earlier
from lsgmer.encoders.learning import Below
from lsgmer.encoders.params import TextEncoderParams
from lsgmer.encoders.transformer import load_transformer
from lsgmer.encoders.weights import EncoderFiles


class TextTransformer:
    """Token embeddings (T, D) of a text transformer's chosen layer or layers, start and end tokens included.

    The special tokens stay because the mean over all tokens is then the sentence embedding that MiniLM was
    trained for. `encode` reads texts one at a time; `encode_together` reads them at once, padded
    and masked, which changes values by less than 1e-5. A text of more than `max_tokens` tokens is truncated.

    With `context`, the utterances before a text are read with it, each followed by the separator, between the
    start token and the text; context beyond `max_tokens` is dropped, the earliest tokens first. Only the text's own
    tokens are returned, so T does not depend on the context.

    With `below`, what the layers that learn read is returned instead (see `learning`): token ids or hidden states of
    context and text, with a last column that is 1 for the text's own tokens.
    """

    def __init__(
        self, params: TextEncoderParams, files: EncoderFiles, device: str = "cpu", below: Below | None = None
    ) -> None:
        self._device, self._below = device, below
        self._max_tokens, self._marks = params.max_tokens, params.marks
        self._layers = params.layers
        if below is not None and params.layers:
            raise LsgmerError("features.text.layers and train.finetune.text exclude each other: leave layers out")
        top = below if isinstance(below, int) else max(params.layers) if params.layers else params.layer
        self._model = load_transformer(files, top, device)
        config = self._model.config
        if not hasattr(config, "max_position_embeddings"):
            raise LsgmerError(f"{files.folder}: {config.model_type} is not a text encoder")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise LsgmerError(f"{files.folder}: no readable tokenizer: {error}") from error
        self._check_length(config, files)
        self._check_separator(params.context, files)
        width = 1 if below == "tokens" else config.hidden_size * max(1, len(params.layers))
        self.spec = EncoderSpec(
            modality="text",
            kind="transformers",
            source=params.source,
            revision=params.revision,
            layer=params.layer,
            dimension=width + (below is not None),
            settings={
                "model_type": config.model_type,
                "max_tokens": params.max_tokens,
                "special_tokens": "kept",
                "device": device,
                "files": files.settings,
                **_chosen(params),
                **({} if below is None else {"below": below}),
            },
            weights_sha256=files.weights_sha256,
            versions=library_versions(("torch", "transformers", "tokenizers")),
        )

    @torch.inference_mode()
    def encode(
        self, texts: Sequence[str], before: Sequence[Sequence[Earlier]] | None = None
    ) -> list[np.ndarray[Any, Any]]:
        """Return token embeddings (T, D) float32 of each text, T at most `max_tokens`.

        `before` holds, per text, the earlier utterances of its dialogue, earliest first; without it, or where
        there are none, a text is read as the first of its dialogue.
        """
        earlier = before if before is not None else [()] * len(texts)
        return [self._tokens(text, lines) for text, lines in zip(texts, earlier, strict=True)]

    def context_read(self, text: str, before: Sequence[Earlier]) -> int:
        """Return how many utterances of `before` are read with `text`: the others, the earliest, do not fit."""
        room = self._max_tokens - len(self._own(text))
        lengths = [len(line) for line in self._context(before)][::-1]
        return sum(sum(lengths[:i]) < room for i in range(len(lengths)))

    def tokens_left_out(self, text: str) -> int:
        """Return how many tokens at the end of `text` are beyond `max_tokens` and not read."""
        whole = self._tokenizer(text, truncation=False, verbose=False)["input_ids"]
        return max(0, len(whole) - self._max_tokens)

    def lengths(self, texts: Sequence[str], before: Sequence[Sequence[Earlier]] | None = None) -> list[int]:
        """Return how many tokens are read for each text, those of its context included."""
        earlier = before if before is not None else [()] * len(texts)
        return [len(row) for row, _ in self._rows(texts, earlier)]

    @torch.inference_mode()
    def encode_together(
        self, texts: Sequence[str], before: Sequence[Sequence[Earlier]] | None = None
    ) -> list[np.ndarray[Any, Any]]:
        """Return what `encode` does, to 1e-5, faster: all texts are padded to the longest and read at once."""
        if self._below == "tokens" or len(texts) == 1:
            return self.encode(texts, before)
        earlier = before if before is not None else [()] * len(texts)
        rows = self._rows(texts, earlier)
        longest = max(len(ids) for ids, _ in rows)
        padding = self._tokenizer.pad_token_id or 0
        ids = torch.full((len(rows), longest), padding)
        mask = torch.zeros_like(ids)
        for i, (row, _) in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        states = self._read(ids, mask)
        return [self._kept(states[i, : len(row)], is_own) for i, (row, is_own) in enumerate(rows)]

    def _rows(self, texts: Sequence[str], earlier: Sequence[Sequence[Earlier]]) -> list[tuple[list[int], Tensor]]:
        """Return `_ids` of each text."""
        return [self._ids(text, lines) for text, lines in zip(texts, earlier, strict=True)]

    def _tokens(self, text: str, before: Sequence[Earlier]) -> np.ndarray[Any, Any]:
        row, is_own = self._ids(text, before)
        ids = torch.tensor([row])
        if self._below == "tokens":
            return _stored(ids[0, :, None].float(), is_own)
        return self._kept(self._read(ids, torch.ones_like(ids))[0], is_own)

    def _ids(self, text: str, before: Sequence[Earlier]) -> tuple[list[int], Tensor]:
        """Return the token ids of `text` after those of its context, and which of them (T,) are its own."""
        own = self._own(text)
        context = [token for line in self._context(before) for token in line]
        context = context[max(0, len(context) - (self._max_tokens - len(own))) :]
        is_own = torch.ones(len(own) + len(context), dtype=torch.bool)
        is_own[1 : 1 + len(context)] = False
        return [own[0], *context, *own[1:]], is_own

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the chosen layers side by side, (B, T, D), of token ids and attention mask, both (B, T)."""
        inputs = BatchEncoding({"input_ids": ids, "attention_mask": mask}).to(self._device)
        output = self._model(**inputs, output_hidden_states=bool(self._layers))
        states = [output.hidden_states[i] for i in self._layers] or [output.last_hidden_state]
        return torch.cat(states, dim=-1).cpu()

    def _kept(self, tokens: Tensor, is_own: Tensor) -> np.ndarray[Any, Any]:
        if self._below is not None:
            return _stored(tokens, is_own)
        return np.ascontiguousarray(tokens[is_own].numpy(), dtype=np.float32)

    def _own(self, text: str) -> list[int]:
        """Return the token ids of `text`, with start and end."""
        return list(self._tokenizer(text, truncation=True, max_length=self._max_tokens)["input_ids"])

    def _context(self, before: Sequence[Earlier]) -> list[list[int]]:
        """Return the token ids of each of `before`, with its mark in front and a separator after it."""
        words = [line.marked if self._marks else line.text for line in before]
        ids = [self._tokenizer(line, add_special_tokens=False, verbose=False)["input_ids"] for line in words]
        return [[*line, self._tokenizer.sep_token_id] for line in ids]

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
    context = {"context": params.context, "marks": params.marks} if params.context else {}
    return layers | context | ({"mix": True} if params.mix else {})


def _stored(values: Tensor, is_own: Tensor) -> np.ndarray[Any, Any]:
    """Return values (T, D) and, as a last column, which tokens are the text's own: (T, D + 1) float32."""
    return np.ascontiguousarray(torch.cat([values, is_own[:, None]], dim=1).numpy(), dtype=np.float32)
