"""The layers that learn, on top of what the store holds, give what the whole encoder gives, alone or in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.encoders.build import build_audio, build_text, load_encoder
from lsgmer.encoders.context import Earlier
from lsgmer.encoders.learning import LearningLayers, describe, rebuild, start_learning
from lsgmer.encoders.params import AudioEncoderParams, TextEncoderParams
from lsgmer.features.batch import Item, collate
from lsgmer.training.lora import add_lora, merge_lora
from tests.support.tiny import save_speech

TEXTS = ("we are not happy", "home", "the dark road today")
BEFORE = ([], [Earlier("i am so glad", True)], [Earlier("the road", False), Earlier("glad", True)])
LEARNS = ("all", "last_1", "last_2", "lora")


def text_params(folder: Path, **more: Any) -> TextEncoderParams:
    return TextEncoderParams(kind="transformers", source=str(folder), max_tokens=32, context=2, **more)


def run(layers: LearningLayers, items: list[Item], modality: str) -> list[np.ndarray]:
    batch = getattr(collate(items, labels_known=False), modality)
    with torch.no_grad():
        values, is_padding = layers.eval()(batch.values, batch.is_padding)
    return [v[~p].numpy() for v, p in zip(values, is_padding, strict=True)]


@pytest.mark.parametrize("layer", [None, 2])
@pytest.mark.parametrize("learns", LEARNS)
def test_text_above_the_store_is_the_whole_encoder(learns: str, layer: int | None, roberta: Path) -> None:
    params = text_params(roberta, layer=layer)
    whole = build_text(params, Path()).encode(TEXTS, BEFORE)
    stored = build_text(params, Path(), learns=learns)
    layers = start_learning(stored.spec, learns, Path())
    items = [Item(str(i), text=values) for i, values in enumerate(stored.encode(TEXTS, BEFORE))]
    assert items[0].text.shape[1] == stored.spec.dimension
    together = run(layers, items, "text")
    for i, (expected, found) in enumerate(zip(whole, together, strict=True)):
        assert np.allclose(found, expected, atol=1e-5)
        assert np.allclose(run(layers, [items[i]], "text")[0], found, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Support for mismatched")  # transformers' own WavLM
@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "wavlm"])
@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("learns", LEARNS)
def test_speech_above_the_store_is_the_whole_encoder(learns: str, name: str, stable: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    waves = [Waveform(generator.normal(0, 0.1, n).astype(np.float32), 16_000) for n in (4000, 9000, 16000)]
    folder = str(save_speech(tmp_path / name, name, stable))
    for layer in (None, 2):
        params = AudioEncoderParams(kind="transformers", source=folder, layer=layer)
        if name == "wavlm" and learns.startswith("last"):
            with pytest.raises(LsgmerError, match="positions in its first layer"):
                build_audio(params, Path(), learns=learns)
            continue
        stored = build_audio(params, Path(), learns=learns)
        layers = start_learning(stored.spec, learns, Path())
        items = [Item(str(i), audio=values) for i, values in enumerate(stored.encode(waves))]
        together = run(layers, items, "audio")
        for expected, found, item in zip(build_audio(params, Path()).encode(waves), together, items, strict=True):
            assert np.allclose(found, expected, atol=2e-4)
            assert np.allclose(run(layers, [item], "audio")[0], found, atol=2e-4)


@pytest.mark.parametrize("learns", LEARNS)
def test_a_card_rebuilds_the_layers_without_the_pretrained_weights(learns: str, roberta: Path) -> None:
    stored = build_text(text_params(roberta, layer=2), Path(), learns=learns)
    layers = start_learning(stored.spec, learns, Path())
    spec = describe(layers, learns)
    if learns == "lora":
        add_lora(layers, "text", 4)
        for parameter in (p for p in layers.parameters() if p.requires_grad):
            torch.nn.init.normal_(parameter, std=0.1)
        merge_lora(layers)
    again = rebuild(type(spec).model_validate_json(spec.to_json()), "text")
    again.load_state_dict(layers.state_dict())
    items = [Item(str(i), text=values) for i, values in enumerate(stored.encode(TEXTS, BEFORE))]
    for left, right in zip(run(layers, items, "text"), run(again, items, "text"), strict=True):
        assert np.array_equal(left, right)
    assert load_encoder(stored.spec).spec == stored.spec


def test_lora_learns_small_matrices_only_and_merging_keeps_the_output(roberta: Path) -> None:
    stored = build_text(text_params(roberta), Path(), learns="lora")
    layers = start_learning(stored.spec, "lora", Path())
    add_lora(layers, "text", 2)
    learnt = {name: parameter for name, parameter, _ in layers.depths()}
    assert learnt
    assert all("lora_" in name for name in learnt)
    for parameter in learnt.values():
        torch.nn.init.normal_(parameter, std=0.1)
    items = [Item("a", text=stored.encode(TEXTS[:1])[0])]
    before = run(layers, items, "text")[0]
    merge_lora(layers)
    assert np.allclose(run(layers, items, "text")[0], before, atol=1e-5)
    assert not any("lora" in name for name in layers.state_dict())


def test_lower_layers_have_greater_depth(roberta: Path) -> None:
    stored = build_text(text_params(roberta), Path(), learns="all")
    depths = {name: depth for name, _, depth in start_learning(stored.spec, "all", Path()).depths()}
    blocks = {name: depth for name, depth in depths.items() if ".layer." in name}
    assert min(blocks.values()) == 0
    assert depths["model.embeddings.word_embeddings.weight"] == max(blocks.values()) + 1
    for name, depth in blocks.items():
        assert depth == max(blocks.values()) - int(name.split(".layer.")[1].split(".")[0])


def test_gradients_are_the_same_with_checkpointing(roberta: Path) -> None:
    stored = build_text(text_params(roberta), Path(), learns="all")
    batch = collate([Item(t, text=v) for t, v in zip(TEXTS, stored.encode(TEXTS), strict=True)], False).text
    gradients = []
    for checkpointing in (False, True):
        layers = start_learning(stored.spec, "all", Path()).train()
        if checkpointing:
            layers.checkpoint_gradients()
        torch.manual_seed(1)
        layers(batch.values, batch.is_padding)[0].square().sum().backward()
        gradients.append({n: p.grad for n, p in layers.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][n], gradients[1][n], atol=1e-4) for n in gradients[0])


def test_what_cannot_learn_is_an_error(roberta: Path) -> None:
    with pytest.raises(LsgmerError, match=r"train\.finetune\.audio: all: an encoder of kind logmel"):
        build_audio(AudioEncoderParams(kind="logmel"), Path(), learns="all")
    with pytest.raises(LsgmerError, match=r"last_9, but .* has 3 layers; use all"):
        build_text(text_params(roberta), Path(), learns="last_9")
    with pytest.raises(LsgmerError, match="exclude each other"):
        build_text(text_params(roberta, layers=(1, 2)), Path(), learns="all")
    frozen = build_text(text_params(roberta), Path()).spec
    with pytest.raises(LsgmerError, match="run `dvc repro features`"):
        start_learning(frozen, "all", Path())
