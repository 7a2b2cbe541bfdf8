"""HAROOD's Transformer with the attention of its released code, against a loop over heads, tokens and neighbours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from imu_video.encoders.channel_transformer import HaroodTransformer

SMALL = {"channels": 5, "samples": 12, "width": 8, "layers": 2, "heads": 2, "ffn": 6, "reach": 2}


def naive(model: HaroodTransformer, window: Tensor, scale: float, reach: int) -> Tensor:
    """Features of one window (C, T) without dropout: one query, one neighbour and one head at a time."""
    tokens = [model.embed(channel) for channel in window]
    for layer in model.layers.layers:
        weight, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
        width, heads = len(bias) // 3, layer.self_attn.num_heads
        parts = [[weight[k * width :][:width] @ t + bias[k * width :][:width] for t in tokens] for k in range(3)]
        updated = []
        for i, token in enumerate(tokens):
            near = [j for j in range(len(tokens)) if abs(i - j) <= reach]
            out = []
            for head in range(heads):
                own = slice(head * width // heads, (head + 1) * width // heads)
                scores = [math.exp((parts[0][i][own] @ parts[1][j][own]).item() / scale) for j in near]
                out.append(sum(s / sum(scores) * parts[2][j][own] for s, j in zip(scores, near, strict=True)))
            x = layer.norm1(token + layer.self_attn.out_proj(torch.cat(out)))
            updated.append(layer.norm2(x + layer.linear2(layer.linear1(x).relu())))
        tokens = updated
    return torch.cat(tokens)


@pytest.mark.parametrize(("attention", "scale"), [("released", math.sqrt(5)), ("standard", math.sqrt(4))])
def test_scores_are_divided_by_the_root_of_tokens_or_of_the_head_width(attention: str, scale: float) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HaroodTransformer(**SMALL, attention=attention).double()  # type: ignore[arg-type]
        windows = torch.randn(3, 5, 12, dtype=torch.float64)
    expected = torch.stack([naive(model, w, scale, 2) for w in windows])
    for mode in (model.eval(), nn.Module.train(_without_dropout(model))):
        found = mode(windows)
        assert torch.allclose(found, expected, atol=1e-9)
    with torch.no_grad():  # PyTorch's layer takes another path without gradients
        assert torch.allclose(model.eval()(windows), expected, atol=1e-9)


def _without_dropout(model: nn.Module) -> nn.Module:
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    return model


def test_released_dropout_leaves_attention_and_hidden_units_alone() -> None:
    """With the dropout after both parts switched off, training equals evaluation; in the standard layer it does not."""
    window = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    for attention, equal in (("released", True), ("standard", False)):
        model = HaroodTransformer(**SMALL, dropout=0.5, attention=attention)  # type: ignore[arg-type]
        for layer in model.layers.layers:
            layer.dropout1.p = layer.dropout2.p = 0.0
        assert torch.allclose(model.train()(window), model.eval()(window), atol=1e-6) is equal


def test_the_two_forms_share_their_weights() -> None:
    released = HaroodTransformer(**SMALL, attention="released")  # type: ignore[arg-type]
    HaroodTransformer(**SMALL).load_state_dict(released.state_dict())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channels", "samples"), [(45, 125), (27, 200), (6, 128), (6, 200), (8, 200), (6, 50), (9, 125), (15, 125)]
)
def test_published_widths(channels: int, samples: int) -> None:
    """Methods 4.3: T -> 64 per channel, two layers of eight heads of width 8, a feed-forward part of 2048, 64 C out."""
    model = HaroodTransformer(channels=channels, samples=samples)
    attention, feed_forward = 4 * (64 * 64 + 64), 2 * 64 * 2048 + 2048 + 64
    layer = attention + feed_forward + 4 * 64
    counted = samples * 64 + 64 + 2 * layer
    assert sum(p.numel() for p in model.parameters()) - 64 == counted  # the token of a missing channel is not published
    assert model.feature_dim == 64 * channels
