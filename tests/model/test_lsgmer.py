"""Padding is invisible, labels permute, a missing modality is not zeros, and evaluation changes no state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsgmer.features.batch import ModalityBatch, collate
from lsgmer.model.lsgmer import LSGMER, LabelMemory, LabelSignalEnhancement, attendable, attribution
from lsgmer.model.pooling import masked_statistics, utterance_statistics
from tests.support.synthetic import AUDIO, LABELS, TEXT, batch, items, model, model_params

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
DIMENSIONS = {"audio": AUDIO, "text": TEXT}
VARIANTS = [
    {},
    {"enhancement": "none"},
    {"label_decay": 0.0},
    {"label_start": "random"},
    {"fusion": "gated"},
    {"fusion": "concatenation"},
    {"enhancement": "none", "fusion": "concatenation"},
    {"layers": 0},
    {"statistics": "input"},
    {"statistics": "input", "enhancement": "none"},
]
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())) or "full")


@every_variant
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 6), absent=st.sampled_from([0.0, 0.5]))
def test_alone_equals_batched(variant, seed, count, absent):
    net, made = model(**variant), items(count, seed, absent=absent)
    with torch.no_grad():
        together = net(collate(made, True, DIMENSIONS))
        for row, item in enumerate(made):
            alone = net(collate([item], True, DIMENSIONS))
            torch.testing.assert_close(alone.logits[0], together.logits[row], **CLOSE)
            torch.testing.assert_close(alone.attribution[0], together.attribution[row], **CLOSE)
            torch.testing.assert_close(alone.fused[0], together.fused[row], **CLOSE)


@every_variant
def test_padding_is_invisible(variant):
    net, given_batch = model(**variant), batch(5)
    noisy = []
    for part in (given_batch.audio, given_batch.text):
        values = torch.where(part.is_padding.unsqueeze(-1), torch.full_like(part.values, 1e3), part.values)
        noisy.append(ModalityBatch(values, part.is_padding))
    with torch.no_grad():
        clean, other = net(given_batch), net(replace(given_batch, audio=noisy[0], text=noisy[1]))
    torch.testing.assert_close(clean.logits, other.logits, **CLOSE)


@every_variant
@pytest.mark.parametrize("gone", ["audio", "text"])
def test_a_missing_modality_is_a_mask_and_not_zeros(gone, variant):
    net, given_batch = model(**variant), batch(4, seed=3)
    part = getattr(given_batch, gone)
    hidden = [
        replace(given_batch, **{gone: ModalityBatch(values, torch.ones_like(part.is_padding))})
        for values in (torch.zeros_like(part.values), torch.full_like(part.values, 50.0))
    ]
    with torch.no_grad():
        outputs = [net(one).logits for one in (*hidden, replace(given_batch, **{gone: None}))]
        shown = net(given_batch).logits
    torch.testing.assert_close(outputs[0], outputs[1], **CLOSE)
    torch.testing.assert_close(outputs[0], outputs[2], **CLOSE)
    assert not torch.allclose(outputs[0], shown, atol=1e-3)


@every_variant
def test_a_missing_modality_gives_finite_gradients(variant):
    net = model(**variant).train()
    net(batch(6, seed=1, absent=0.9)).logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@every_variant
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(LABELS))), seed=st.integers(0, 100))
def test_permuting_labels_permutes_outputs(variant, order, seed):
    net, other = model(**variant), model(**variant)
    order = list(order)
    with torch.no_grad():
        other.memory.embedding.copy_(net.memory.embedding[order])
        other.memory.shadow.copy_(net.memory.shadow[order])
        plain, permuted = net(batch(4, seed)), other(batch(4, seed))
    torch.testing.assert_close(plain.logits[:, order], permuted.logits, **CLOSE)
    torch.testing.assert_close(plain.attribution[:, order], permuted.attribution, **CLOSE)
    torch.testing.assert_close(plain.fused, permuted.fused, **CLOSE)


def test_eval_leaves_the_label_memory_unchanged():
    net = model()
    before = {name: value.clone() for name, value in net.memory.state_dict().items()}
    with torch.no_grad():
        net(batch(4))
    assert all(torch.equal(before[name], value) for name, value in net.memory.state_dict().items())


def test_the_label_memory_is_the_moving_average_of_the_formula():
    memory = LabelMemory(labels=2, width=3, decay=0.9)
    start = memory.shadow.clone()
    with torch.no_grad():
        memory.embedding.copy_(torch.ones(2, 3))
    memory.update()
    torch.testing.assert_close(memory.shadow, 0.9 * start + 0.1 * torch.ones(2, 3))
    memory.update()
    torch.testing.assert_close(memory.shadow, 0.81 * start + 0.19 * torch.ones(2, 3))


def test_the_guide_reads_the_shadow_and_sends_the_gradient_to_the_parameter():
    memory = LabelMemory(labels=2, width=3, decay=0.9)
    with torch.no_grad():
        memory.embedding.add_(1.0)
    guide = memory.guide()
    torch.testing.assert_close(guide, memory.shadow)
    guide.sum().backward()
    torch.testing.assert_close(memory.embedding.grad, torch.ones(2, 3))


def test_attribution_reads_the_parameter_in_training_and_the_shadow_otherwise():
    memory = LabelMemory(labels=2, width=3, decay=0.9)
    assert memory.train().reference() is memory.embedding
    assert memory.eval().reference() is memory.shadow


def test_attribution_by_hand():
    fused, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    expected = torch.tensor([1.0, 0.0, -1.0]).div(0.5).softmax(0)  # cosines 1, 0, -1 at temperature 0.5
    torch.testing.assert_close(attribution(fused, labels, 0.5)[0], expected)


def test_label_signal_enhancement_by_hand():
    layer = LabelSignalEnhancement(model_params(width=2, heads=1)).eval()
    with torch.no_grad():
        layer.attention.in_proj_weight.copy_(torch.cat([torch.eye(2)] * 3))
        layer.attention.in_proj_bias.zero_()
        layer.attention.out_proj.weight.copy_(torch.eye(2))
        layer.attention.out_proj.bias.zero_()
        layer.spread.weight.copy_(2 * torch.eye(2))
        layer.spread.bias.zero_()
    labels = torch.tensor([[1.0, 0.0]])
    projected = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [99.0, 99.0]]])
    contextual = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [99.0, 99.0]]])
    is_padding = torch.tensor([[False, False, True]])
    weight = np.exp(1 / np.sqrt(2)) / (np.exp(1 / np.sqrt(2)) + 1)  # softmax of the scores 1 / sqrt(2) and 0
    enhanced = np.array([weight, 1 - weight])
    summary = np.array([2.0, 3.0]) + 2 * np.sqrt(1 + 1e-5)  # means 2 and 3, both deviations 1
    expected = 1 / (1 + np.exp(-enhanced)) * summary + enhanced
    with torch.no_grad():
        found = layer(labels, projected, contextual, is_padding)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_masked_statistics_by_hand():
    values = torch.tensor([[[1.0], [3.0], [100.0]]])
    mean, deviation = masked_statistics(values, torch.tensor([[False, False, True]]))
    assert mean.item() == 2.0
    assert deviation.item() == pytest.approx(1.0, rel=1e-4)


def test_utterance_statistics_by_hand():
    values = torch.tensor([[[1.0], [2.0], [6.0], [99.0]], [[4.0], [99.0], [99.0], [99.0]]])
    is_padding = torch.tensor([[False, False, False, True], [False, True, True, True]])
    found = utterance_statistics(values, is_padding)
    deviation = (14 / 3 + 1e-5) ** 0.5
    # The trend of 1, 2, 6 at times -1, 0, 1 is (1 * -1 + 6 * 1) / 3; one frame has none.
    torch.testing.assert_close(found, torch.tensor([[3.0, deviation, 5 / 3], [4.0, 1e-5**0.5, 0.0]]))


def test_pooling_the_encoders_features_is_a_linear_map_of_standardised_statistics():
    pooling = model(statistics="input").stream("audio").pooling
    values, is_padding = torch.randn(2, 5, AUDIO), torch.zeros(2, 5, dtype=torch.bool)
    statistics = utterance_statistics(values, is_padding)
    pooling.standardise(statistics[0], torch.full((3 * AUDIO,), 2.0))
    with torch.no_grad():
        found = pooling(values, is_padding)
        torch.testing.assert_close(found[0], pooling.projection.bias)
        expected = pooling.projection((statistics[1] - statistics[0]) / 2)
    torch.testing.assert_close(found[1], expected)


def test_attendable_opens_one_frame_of_absent_rows_only():
    opened, present = attendable(torch.tensor([[False, True], [True, True]]))
    assert present.tolist() == [True, False]
    assert opened.tolist() == [[False, True], [False, True]]


def test_labels_start_from_their_descriptions_where_there_is_text():
    net = model()
    text = torch.randn(len(LABELS), TEXT)
    net.start_labels(text)
    projected = net.stream("text").project(text)
    expected = torch.nn.functional.normalize(projected - projected.mean(0), dim=-1)
    torch.testing.assert_close(net.memory.shadow, expected)
    torch.testing.assert_close(net.memory.embedding.data, expected)


def test_one_modality_is_enough_and_none_is_refused():
    net = LSGMER(model_params(), len(LABELS), {"text": TEXT}).eval()
    with torch.no_grad():
        output = net(replace(batch(3), audio=None))
    assert output.logits.shape == output.attribution.shape == (3, len(LABELS))
    assert output.fused.shape == (3, model_params().width)
    torch.testing.assert_close(output.attribution.sum(1), torch.ones(3))
    with pytest.raises(ValueError, match="at least one modality"):
        LSGMER(model_params(), len(LABELS), {})


def test_without_label_signal_enhancement_every_label_sees_the_same():
    net, made = model(enhancement="none"), batch(3)
    guide = net.memory.guide()
    views = net.enhance["audio"](
        guide,
        made.audio.values @ torch.ones(AUDIO, 8),
        made.audio.values[..., :1].repeat(1, 1, 8),
        made.audio.is_padding,
    )
    assert views.shape == (3, len(LABELS), 8)
    torch.testing.assert_close(views, views[:, :1].expand_as(views))


def test_gated_fusion_lets_no_modality_hear_the_other():
    def attentions(net):
        return sum(isinstance(module, torch.nn.MultiheadAttention) for module in net.fusion.modules())

    assert attentions(model(fusion="gated")) == 0
    assert attentions(model(fusion="cross")) == 2
