"""Tiny random encoders, built with the real config classes and saved to a folder as save_pretrained does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    Wav2Vec2Processor,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
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


def save_speech(
    folder: Path, kind: str = "hubert", stable: bool = False, do_normalize: bool = True, seed: int = 3
) -> Path:
    """Save a speech encoder; `stable` is the large models' form: layer-normalised convolutions, pre-norm blocks."""
    torch.manual_seed(seed)
    config_class, model_class = SPEECH[kind]
    form = {"feat_extract_norm": "layer" if stable else "group", "do_stable_layer_norm": stable}
    model_class(config_class(**SHAPE, **CONVOLUTIONS, **form)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=stable).save_pretrained(folder)
    return folder


def save_pickled(folder: Path, shards: int = 1, **form: Any) -> Path:
    """Save a speech encoder as older versions of transformers did: pickled, with weight_norm's older names."""
    save_speech(folder, **form)
    weights = folder / "model.safetensors"
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in load_file(weights).items()
    }
    weights.unlink()
    if shards == 1:
        torch.save(older, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        return folder
    place = {name: f"pytorch_model-{i % shards + 1:05}-of-{shards:05}.bin" for i, name in enumerate(older)}
    for shard in set(place.values()):
        torch.save({name: value for name, value in older.items() if place[name] == shard}, folder / shard)
    index = {"metadata": {}, "weight_map": place}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def save_processor(folder: Path) -> Path:
    """Save a wav2vec 2.0 with the processor files of transformers 5, and no preprocessor_config.json."""
    save_speech(folder, "wav2vec2")
    (folder / "preprocessor_config.json").unlink()
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", "a", "b"]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json")
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(do_normalize=True), tokenizer).save_pretrained(folder)
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


def save_whisper(folder: Path, seed: int = 7) -> Path:
    """Save a Whisper that knows bytes and two languages, with the processor files that the hub's folders have."""
    torch.manual_seed(seed)
    letters = sorted(bytes_to_unicode().values())
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|pl|>", "<|transcribe|>", "<|notimestamps|>"]
    vocabulary = {piece: i for i, piece in enumerate([*letters, *special])}
    end, start, english, polish, task, plain = range(len(letters), len(vocabulary))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[], additional_special_tokens=special[1:])
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        init_std=0.5,  # or it ends at once
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    settings = model.generation_config
    settings.is_multilingual, settings.no_timestamps_token_id = True, plain
    settings.lang_to_id, settings.task_to_id = {"<|en|>": english, "<|pl|>": polish}, {"transcribe": task}
    settings._from_model_config = False  # or it is made anew from config.json when it is read
    settings.decoder_start_token_id, settings.eos_token_id, settings.pad_token_id = start, end, end
    model.save_pretrained(folder)
    return folder
