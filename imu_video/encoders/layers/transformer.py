"""One Transformer layer with a key mask, and fixed positions; encoders assemble the layers."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POSITION_AMPLITUDE = 0.2
"""Amplitude of the sinusoidal positions: below the scale of embedded unit-variance patches, so content dominates."""


def sinusoidal_positions(count: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """Fixed sine and cosine positions 0 .. count-1 (Vaswani et al. 2017, section 3.5), scaled by POSITION_AMPLITUDE.

    Args:
        count: number of positions.
        width: number of features, even.
        device: device of the table.

    Shapes: (count, width) float32.

    Example:
        >>> table = sinusoidal_positions(16, 128)
        >>> torch.equal(table[:8], sinusoidal_positions(8, 128))
        True
    """
    frequency = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = torch.arange(count, device=device)[:, None] * frequency
    return POSITION_AMPLITUDE * torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class _TokenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the measured tokens of a batch; other tokens become zero and do not affect it."""

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        if keys is None:
            return super().forward(x.flatten(0, 1)).view_as(x)
        if torch.compiler.is_exporting():  # the number of measured tokens would be a size that depends on the data
            return torch.where(keys[..., None], super().forward(x.flatten(0, 1)).view_as(x), 0)
        out = torch.zeros_like(x)
        out[keys] = super().forward(x[keys]).to(out.dtype)
        return out


class _TokenLayerNorm(nn.LayerNorm):
    """Layer normalisation with the signature of `_TokenBatchNorm`."""

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        return super().forward(x)


class TransformerLayer(nn.Module):
    """One encoder layer: self-attention and feed-forward, each with a residual."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        ffn: int,
        dropout: float,
        norm: Literal["layer", "batch"],
        pre_norm: bool,
        activation: Literal["gelu", "relu"] = "gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        normaliser = {"layer": _TokenLayerNorm, "batch": _TokenBatchNorm}[norm]
        self.heads = heads
        self.dropout = dropout
        self.pre_norm = pre_norm
        self.activation = activation
        self.attention_norm = normaliser(width, eps=eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ffn_norm = normaliser(width, eps=eps)
        self.up = nn.Linear(width, ffn)
        self.down = nn.Linear(ffn, width)

    def forward(self, x: Tensor, keys: Tensor | None, *, only_first: bool) -> Tensor:
        """Update tokens (S, L, width), attending to tokens where ``keys`` (S, L) is True.

        With ``only_first`` only the first token is computed and returned.
        """
        rows = keys[:, :1] if only_first and keys is not None else keys
        if self.pre_norm:
            x = self._attend(self.attention_norm(x, keys), keys, only_first) + (x[:, :1] if only_first else x)
            return x + self._feed(self.ffn_norm(x, rows))
        x = self._attend(x, keys, only_first) + (x[:, :1] if only_first else x)
        x = self.attention_norm(x, rows)
        return self.ffn_norm(x + self._feed(x), rows)

    def _attend(self, x: Tensor, keys: Tensor | None, only_first: bool) -> Tensor:
        width = x.shape[-1]
        if only_first:
            # One query instead of L: the cost of the projection and of attention falls by about a factor of L.
            q = F.linear(x[:, :1], self.qkv.weight[:width], self.qkv.bias[:width])
            k, v = F.linear(x, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=-1)
        else:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        attention_mask = None if keys is None else keys[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, dropout_p=dropout)
        return F.dropout(self.out(out.transpose(1, 2).flatten(-2)), dropout)

    def _feed(self, x: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        activate = F.gelu if self.activation == "gelu" else F.relu
        return F.dropout(self.down(F.dropout(activate(self.up(x)), dropout)), dropout)
