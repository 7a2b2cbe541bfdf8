"""Transformer over channels instead of time steps: the second backbone of HAROOD."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count, Whole
from imu_video.encoders.base import check_window, fill_gaps
from imu_video.errors import ConfigError
from imu_video.registry import encoders


class ReleasedLayer(nn.TransformerEncoderLayer):
    """An encoder layer as in the released code of HAROOD; its weights have the names of PyTorch's layer.

    Scores are divided by the square root of the number of tokens instead of the head width, and dropout follows the
    attention and the feed-forward part only, not the attention weights and the hidden units.

    Shapes: (B, C, width), mask (C, C) bool, True where a token is not attended -> (B, C, width).
    """

    def forward(self, src: Tensor, src_mask: Tensor | None = None, *ignored: Any, **also_ignored: Any) -> Tensor:
        x: Tensor = self.norm1(src + self.dropout1(self._attended(src, src_mask)))
        hidden = F.relu(self.linear1(x))
        out: Tensor = self.norm2(x + self.dropout2(self.linear2(hidden)))
        return out

    def _attended(self, x: Tensor, mask: Tensor | None) -> Tensor:
        attention = self.self_attn
        batch, tokens, width = x.shape
        joint = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = joint.reshape(batch, tokens, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / tokens**0.5
        if mask is not None:
            # The encoder may have turned the bool mask into one of -inf, which is added.
            scores = scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, tokens, width)
        out: Tensor = attention.out_proj(mixed)
        return out


@encoders.register("harood_transformer")
class HaroodTransformer(nn.Module):
    """Each channel's whole window is one token; channels attend to each other (HAROOD, KDD 2026, arXiv 2512.10807).

    Linear T -> width for every channel, then encoder layers without positions, flattened to C * width. Attention scores
    are divided by the square root of the head width, unless ``attention`` is ``released``.

    Args:
        channels: C.
        samples: T of training windows; filled in from the data. Windows of another length are resampled to it.
        width: of a token; 64.
        layers: encoder layers; 2.
        heads: attention heads, a divisor of the width; 8.
        ffn: hidden width of the feed-forward part; 2048.
        dropout: in [0, 1); 0.2. Uses torch's global generator, separately per rank.
        reach: a channel attends to channels at most this many positions away, at least 0; 12 as published, None: all.
        attention: ``standard`` (Vaswani et al. 2017) or ``released``: see `ReleasedLayer`.

    Shapes: (B, C, T) -> (B, C * width).

    Example:
        >>> HaroodTransformer(channels=45, samples=125).feature_dim
        2880
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        samples: Count = 128,
        width: Count = 64,
        layers: Count = 2,
        heads: Count = 8,
        ffn: Count = 2048,
        dropout: BelowOne = 0.2,
        reach: Whole | None = 12,
        attention: Literal["standard", "released"] = "standard",
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"harood_transformer: width must be a multiple of heads, got {width=}, {heads=}")
        self.channels, self.samples = channels, samples
        self.feature_dim = channels * width
        self.embed = nn.Linear(samples, width)
        self.missing = nn.Parameter(torch.randn(width) * 0.02)
        kind = ReleasedLayer if attention == "released" else nn.TransformerEncoderLayer
        layer = kind(width, heads, ffn, dropout, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        place = torch.arange(channels)
        far = (place[:, None] - place).abs() > (channels if reach is None else reach)
        self.register_buffer("far", far, persistent=False)

    far: Tensor

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of normalised windows; ``mask`` is True where measured, a missing channel is a learned token."""
        check_window(imu, mask, self.channels)
        there = None
        if mask is not None:
            imu, there = fill_gaps(imu, mask), mask.any(-1, keepdim=True)
        if imu.shape[-1] != self.samples:
            imu = F.interpolate(imu, size=self.samples, mode="linear", align_corners=False)
        tokens = self.embed(imu)
        if there is not None:
            tokens = torch.where(there, tokens, self.missing.to(tokens.dtype))
        out: Tensor = self.layers(tokens, mask=self.far, is_causal=False).flatten(1)
        return out
