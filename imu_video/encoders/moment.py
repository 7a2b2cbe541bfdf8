"""MOMENT, a foundation model of time series: patches of each channel through a T5 encoder; no heads and no hub."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from imu_video.arguments import Count
from imu_video.encoders.base import check_window, masked_mean
from imu_video.encoders.layers.patches import cut_patches, standardise
from imu_video.encoders.layers.t5 import T5Encoder
from imu_video.errors import ConfigError
from imu_video.registry import encoders

PATCH = 8
"""Samples per patch of the published models."""
PATCHES = 64
"""Patches of the published window of 512 samples."""


def positions(count: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """Sinusoidal positions of the newest ``count`` of 64 patches (Vaswani et al. 2017, section 3.5).

    Patches that are older than the published window have the position of its oldest patch.

    Shapes: (count, width) float32.
    """
    place = torch.arange(PATCHES - count, PATCHES, device=device).clamp(min=0)[:, None]
    angle = place * torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@encoders.register("moment")
class MOMENT(nn.Module):
    """The encoder of MOMENT (Goswami et al. 2024, arXiv 2402.03885), whose published weights `convert` loads.

    Each channel is standardised over the window and cut into patches of 8 samples, aligned to its end; patches are
    embedded without a bias, sinusoidal positions are added, and a T5 encoder that all channels share gives a token per
    patch. The feature is the mean over patches and channels, as the published ``embed``.

    Windows of 512 samples fill the published positions. Shorter windows have fewer patches, at the newest positions, as
    the published left padding. A gap in a patch is filled with the patch's mean; a patch without any sample has the
    learned mask embedding and is not attended to.

    Args:
        channels: C.
        width: token width, an even number; 512 (small), 768 (base), 1024 (large).
        layers: 8, 12, 24.
        heads: 6, 12, 16.
        head_width: of one head; 64.
        ffn: hidden width of the feed-forward part; 1024, 2048, 2816.
        across: ``mean`` over the channels as published, or ``concat``.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E), E = width, or C * width; tokens (B, P, E).

    Raises:
        ConfigError: an odd width.

    Example:
        >>> MOMENT(width=16, layers=1, heads=2, ffn=32)(torch.zeros(2, 6, 250)).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Count = 512,
        layers: Count = 8,
        heads: Count = 6,
        head_width: Count = 64,
        ffn: Count = 1024,
        across: Literal["mean", "concat"] = "mean",
    ) -> None:
        if width % 2:
            raise ConfigError(f"moment: width must be even, got {width}")
        super().__init__()
        self.channels, self.across = channels, across
        self.feature_dim = self.token_dim = width if across == "mean" else channels * width
        self.embed = nn.Linear(PATCH, width, bias=False)
        self.masked = nn.Parameter(torch.randn(width) * 0.02)
        self.encoder = T5Encoder(width=width, layers=layers, heads=heads, head_width=head_width, ffn=ffn)

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of normalised windows (B, C, T); ``mask`` is True where measured."""
        tokens, measured = self._tokens(imu, mask)
        there = measured.any(-1, keepdim=True)  # (B, C, 1): a channel without any sample has only masked patches
        used = measured | ~there
        by_channel = masked_mean(tokens, used[..., None], 2)[:, :, 0]  # (B, C, width)
        if self.across == "concat":
            return by_channel.flatten(1)
        counted = there | ~there.any(1, keepdim=True)
        return masked_mean(by_channel, counted, 1)[:, 0]

    def tokens(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features over time (B, P, E), oldest first."""
        tokens, _ = self._tokens(imu, mask)
        return tokens.mean(1) if self.across == "mean" else tokens.transpose(1, 2).flatten(2)

    def _tokens(self, imu: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens (B, C, P, width), and which patches have a measured sample (B, C, P)."""
        check_window(imu, mask, self.channels)
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        patches, measured = cut_patches(standardise(imu, mask), mask, patch=PATCH, stride=PATCH)
        assert measured is not None  # a mask was given
        embedded = torch.where(measured[..., None], self.embed(patches), self.masked.to(patches.dtype))
        x = embedded + positions(embedded.shape[1], embedded.shape[2], device=imu.device).to(embedded.dtype)
        # Attention over no keys is not defined: a channel without any sample attends everywhere.
        keys = measured | ~measured.any(1, keepdim=True)
        x = self.encoder(x, keys)
        shape = (len(imu), self.channels)
        return x.unflatten(0, shape), measured.unflatten(0, shape)
