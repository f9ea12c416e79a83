"""A text's tokens do not depend on the batch; context comes before them and is not among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModel, AutoTokenizer

from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.encoders.build import TextEncoder, build_text, load_encoder
from lsgmer.encoders.context import Earlier
from lsgmer.encoders.params import TextEncoderParams
from lsgmer.params import load_params
from tests.support.tiny import WORDS

MINILM = load_params(Path(__file__).parents[2] / "params.yaml").features.text


def build(folder: Path, layer: int | None = None, max_tokens: int = 16, context: int = 0) -> TextEncoder:
    fields = {"source": str(folder), "layer": layer, "max_tokens": max_tokens, "context": context}
    params = TextEncoderParams(kind="transformers", **fields)
    encoder = build_text(params, Path())
    assert encoder is not None
    return encoder


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    encoder = build_text(MINILM, Path())
    assert encoder is not None
    return encoder


def test_stopping_at_a_layer_equals_the_full_models_hidden_state(roberta: Path) -> None:
    text = "we are not happy"
    inputs = AutoTokenizer.from_pretrained(roberta)(text, return_tensors="pt")
    with torch.inference_mode():
        full = AutoModel.from_pretrained(roberta).eval()(**inputs, output_hidden_states=True)
    for layer, expected in enumerate(full.hidden_states):
        assert np.array_equal(build(roberta, layer).encode([text])[0], expected[0].numpy())
    assert np.array_equal(build(roberta).encode([text])[0], full.last_hidden_state[0].numpy())


def test_several_layers_stand_side_by_side(roberta: Path) -> None:
    params = TextEncoderParams(kind="transformers", source=str(roberta), layers=(1, 3), max_tokens=16)
    encoder = build_text(params, Path())
    assert encoder is not None
    text, before = "we are not happy", [[Earlier("the dark road")]]
    found = encoder.encode([text], before)[0]
    assert found.shape == (6, encoder.spec.dimension) == (6, 32)
    parts = [build(roberta, layer, context=1).encode([text], before)[0] for layer in (1, 3)]
    assert np.array_equal(found, np.concatenate(parts, axis=1))
    card = EncoderSpec.model_validate_json(encoder.spec.model_dump_json())
    assert load_encoder(card).spec == card
    assert encoder.spec.fingerprint != build(roberta, 3).spec.fingerprint


def test_layers_that_do_not_exist_or_contradict_are_refused(roberta: Path) -> None:
    with pytest.raises(LsgmerError, match="layer 4 does not exist"):
        build_text(TextEncoderParams(kind="transformers", source=str(roberta), layers=(1, 4)), Path())
    with pytest.raises(ValidationError, match="both given"):
        TextEncoderParams(kind="transformers", source=str(roberta), layer=1, layers=(1, 3))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=20), min_size=2, max_size=4))
def test_alone_equals_in_a_batch_and_special_tokens_are_kept(roberta: Path, sentences: list[list[str]]) -> None:
    encoder = build(roberta)
    texts = [" ".join(words) for words in sentences]
    for words, text, tokens in zip(sentences, texts, encoder.encode(texts), strict=True):
        assert tokens.shape == (min(len(words) + 2, 16), 16)
        assert np.array_equal(tokens, encoder.encode([text])[0])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), min_size=1, max_size=4))
def test_what_was_said_before_is_read_and_only_the_texts_own_tokens_come_back(
    roberta: Path, sentences: list[list[str]]
) -> None:
    encoder = build(roberta, max_tokens=32, context=3)
    *earlier, text = [" ".join(words) for words in sentences]
    before = [Earlier(line) for line in earlier]
    alone, behind, other = encoder.encode([text, text, "home"], [(), before, [Earlier("dark road")]])
    assert alone.shape == behind.shape
    assert np.array_equal(alone, encoder.encode([text])[0]), "an utterance alone is the first of its dialogue"
    assert np.array_equal(behind, encoder.encode([text], [before])[0])
    assert np.array_equal(other, encoder.encode(["home"], [[Earlier("dark road")]])[0])
    assert np.allclose(alone, behind, atol=1e-4) == (not before)


@pytest.mark.parametrize("context", [0, 2])
def test_together_is_alone_to_a_hundred_thousandth(roberta: Path, minilm: TextEncoder, context: int) -> None:
    texts = ["hello", "what a long sentence this is, full of words", "no", "hello there you"]
    before = [[Earlier("before")] * i for i in range(4)]
    for encoder in (build(roberta, context=context), *([minilm] if not context else [])):
        alone = encoder.encode(texts, before if context else None)
        together = encoder.encode_together(texts, before if context else None)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(other, one, atol=1e-5)


def test_context_goes_between_the_start_token_and_the_text(roberta: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(roberta), AutoModel.from_pretrained(roberta).eval()
    ids = tokenizer("we are </s> not happy </s> today", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        whole = model(ids).last_hidden_state[0].numpy()
    found = build(roberta, context=2).encode(["today"], [[Earlier("we are"), Earlier("not happy")]])[0]
    np.testing.assert_allclose(found, whole[[0, -2, -1]], atol=1e-5)


def test_context_that_does_not_fit_is_left_off_from_the_earliest_on(roberta: Path) -> None:
    encoder = build(roberta, max_tokens=8, context=2)
    text = "we are not"  # 5 tokens with the special ones: room for 3 more
    cut = encoder.encode([text], [[Earlier("i am so glad"), Earlier("the road")]])[0]
    assert np.array_equal(cut, encoder.encode([text], [[Earlier("the road")]])[0])
    full = "we are not happy about the dark road home"
    assert np.array_equal(encoder.encode([full], [[Earlier("glad")]])[0], encoder.encode([full])[0])


def test_marks_say_whether_the_same_speaker_said_it() -> None:
    marked, unmarked = (build_text(MINILM.model_copy(update={"context": 2, "marks": m}), Path()) for m in (True, False))
    same, other, unknown = ([Earlier("the dark road", mark)] for mark in (True, False, None))
    tokens = [marked.encode(["not happy"], [before])[0] for before in (same, other, unknown)]
    assert not np.array_equal(tokens[0], tokens[1])
    assert np.array_equal(unmarked.encode(["not happy"], [same])[0], tokens[2])
    assert unmarked.spec.fingerprint != marked.spec.fingerprint


def test_a_card_from_before_there_were_marks_is_read_without_them(roberta: Path) -> None:
    params = TextEncoderParams(kind="transformers", source=str(roberta), max_tokens=32, context=2, marks=False)
    spec = build_text(params, Path()).spec
    old = spec.model_copy(update={"settings": {k: v for k, v in spec.settings.items() if k != "marks"}})
    assert load_encoder(old).spec == spec


def test_context_changes_the_fingerprint_and_its_absence_does_not(roberta: Path) -> None:
    plain, context = build(roberta).spec, build(roberta, context=2).spec
    assert "context" not in plain.settings
    assert context.settings["context"] == 2
    assert plain.fingerprint != context.fingerprint
    assert load_encoder(context).spec == context


def test_more_tokens_than_positions_are_refused(roberta: Path) -> None:
    build(roberta, max_tokens=32)
    with pytest.raises(LsgmerError, match="max_tokens: 33 is more than the 32"):
        build(roberta, max_tokens=33)


def test_a_speech_encoder_is_refused(hubert: Path) -> None:
    with pytest.raises(LsgmerError, match="hubert is not a text encoder"):
        build(hubert)


def test_the_packaged_minilm_puts_like_sentences_close(minilm: TextEncoder) -> None:
    texts = ["I am so happy today!", "What a joyful, wonderful day.", "The invoice is due on Monday."]
    means = np.stack([tokens.mean(axis=0) for tokens in minilm.encode(texts)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    close = means @ means.T
    assert means.shape == (3, 384)
    assert close[0, 1] > 0.5
    assert close[0, 2] < 0.3
    assert close[1, 2] < 0.3


def test_the_packaged_minilm_is_the_one_that_params_name(minilm: TextEncoder) -> None:
    assert minilm.spec.weights_sha256 == MINILM.sha256
    assert minilm.spec.source == MINILM.source
    assert "/" not in "".join(minilm.spec.settings["files"])


@pytest.mark.parametrize("most", [3, 12])
def test_what_is_cut_is_counted(minilm: TextEncoder, most: int) -> None:
    encoder = build_text(MINILM.model_copy(update={"max_tokens": most}), Path())
    assert encoder is not None
    for count in (1, 2, 10, 11, 30):
        text = " ".join((WORDS * 2)[:count])
        assert encoder.tokens_left_out(text) == len(minilm.encode([text])[0]) - len(encoder.encode([text])[0])
        assert minilm.tokens_left_out(text) == 0
