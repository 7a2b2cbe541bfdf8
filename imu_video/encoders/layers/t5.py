"""Layers of the T5 encoder: RMS norm, attention with learned distances, gated feed-forward; no embeddings of words."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class RMSNorm(nn.Module):
    """x / sqrt(mean x^2 + 1e-6), times a gain; no mean is subtracted (Zhang and Sennrich 2019, arXiv 1910.07467).

    Shapes: (..., width) -> (..., width).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + EPS)
        out: Tensor = self.weight * (x * scale).to(x.dtype)
        return out


def distance_buckets(count: int, *, buckets: int = 32, farthest: int = 128) -> Tensor:
    """Bucket of the distance from each token to each other one (Raffel et al. 2020, arXiv 1910.10683, section 2.1).

    Half of the buckets is for later tokens. Of each half, the first half holds one distance each, the rest grows with
    the logarithm up to ``farthest``, beyond which all distances share a bucket.

    Args:
        count: tokens.
        buckets: number of buckets, a multiple of 4.
        farthest: distance of the last bucket, in tokens.

    Shapes: (count, count) int64, row = the token that attends.

    Example:
        >>> distance_buckets(3).tolist()
        [[0, 17, 18], [1, 0, 17], [2, 1, 0]]
    """
    place = torch.arange(count)
    away = place[None] - place[:, None]
    half = buckets // 2
    near = half // 2
    size = away.abs()
    grown = near + (size.clamp(min=1).double() / near).log() / math.log(farthest / near) * (half - near)
    return half * (away > 0).long() + torch.where(size < near, size, grown.long().clamp(max=half - 1))


class T5Layer(nn.Module):
    """Self-attention without biases and without scaled scores, then a gated feed-forward part, each with a residual.

    Shapes: x (S, L, width), bias (S or 1, heads, L, L) added to the scores -> (S, L, width).
    """

    def __init__(self, *, width: int, heads: int, head_width: int, ffn: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)
        self.ffn_norm = RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * ffn, bias=False)
        self.down = nn.Linear(ffn, width, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1.0)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.gelu(gate, approximate="tanh") * up)
        return out


class T5Encoder(nn.Module):
    """The encoder stack of T5 with gated feed-forward parts; all layers share the learned biases of distances.

    Args:
        width, layers, heads, ffn: of the stack.
        head_width: of one head; heads * head_width may differ from the width.

    Shapes: x (S, L, width), keys (S, L) bool or None, True for tokens to attend to -> (S, L, width).

    Example:
        >>> T5Encoder(width=8, layers=1, heads=2, head_width=4, ffn=16)(torch.zeros(1, 5, 8), None).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, *, width: int, layers: int, heads: int, head_width: int, ffn: int) -> None:
        super().__init__()
        self.distance = nn.Embedding(32, heads)
        self.layers = nn.ModuleList(
            T5Layer(width=width, heads=heads, head_width=head_width, ffn=ffn) for _ in range(layers)
        )
        self.norm = RMSNorm(width)
        # Scores are not divided by the root of the head width: that factor is part of the initial queries.
        for layer in self.layers:
            assert isinstance(layer, T5Layer)
            inner = heads * head_width
            with torch.no_grad():
                nn.init.normal_(layer.qkv.weight[:inner], std=(width * head_width) ** -0.5)
                nn.init.normal_(layer.qkv.weight[inner:], std=width**-0.5)
            nn.init.normal_(layer.out.weight, std=inner**-0.5)
            nn.init.normal_(layer.gate_up.weight, std=width**-0.5)
            nn.init.normal_(layer.down.weight, std=ffn**-0.5)
        nn.init.normal_(self.distance.weight, std=width**-0.5)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """Tokens after the last norm."""
        bias = self.distance(distance_buckets(x.shape[1]).to(x.device)).permute(2, 0, 1)[None]
        if keys is not None:
            bias = bias.masked_fill(~keys[:, None, None, :], torch.finfo(bias.dtype).min)
        for layer in self.layers:
            x = layer(x, bias)
        out: Tensor = self.norm(x)
        return out
