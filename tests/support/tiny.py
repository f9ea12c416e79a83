"""Tiny random encoders, built with the real config classes and saved to a folder as save_pretrained does."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)
from transformers.utils import logging

logging.disable_progress_bar()
WORDS = [
    "i",
    "am",
    "so",
    "glad",
    "you",
    "came",
    "we",
    "are",
    "not",
    "happy",
    "about",
    "the",
    "dark",
    "road",
    "home",
    "again",
    "today",
]
SPEECH = {
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
}
SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
CONVOLUTIONS = {
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 8, 5),
    "conv_stride": (5, 8, 8),  # one frame per 320 samples, like the real ones
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


def save_speech(folder: Path, kind: str = "hubert", stable: bool = False, do_normalize: bool = True) -> Path:
    """Save a speech encoder; `stable` is the large models' form: layer-normalised convolutions, pre-norm blocks."""
    torch.manual_seed(3)
    config_class, model_class = SPEECH[kind]
    form = {"feat_extract_norm": "layer" if stable else "group", "do_stable_layer_norm": stable}
    model_class(config_class(**SHAPE, **CONVOLUTIONS, **form)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=stable).save_pretrained(folder)
    return folder


def save_roberta(folder: Path, seed: int = 5) -> Path:
    """Save a RoBERTa with a word tokenizer that knows `WORDS`."""
    torch.manual_seed(seed)
    vocabulary = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
    )
    fast.save_pretrained(folder)
    config = RobertaConfig(
        **SHAPE, vocab_size=len(vocabulary), max_position_embeddings=34, pad_token_id=1, bos_token_id=0, eos_token_id=2
    )
    RobertaModel(config).save_pretrained(folder)
    return folder
