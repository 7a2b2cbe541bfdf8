"""Base class of convolutional encoders: gaps, missing channels, tokens over time, pooling; no convolutions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.encoders.base import check_window, fill_gaps
from imu_video.encoders.layers.pooling import Pooling, pool_tokens, pooled_width, valid_tokens
from imu_video.errors import ConfigError

Norm = Literal["group", "batch"]
"""``batch`` as published; ``group`` uses no statistics of other windows, so results do not depend on the world size."""


def norm_layer(kind: Norm, width: int, *, axes: int = 1) -> nn.Module:
    """Batch norm over 1 or 2 further axes, or group norm with 8 groups (4, 2 or 1 if 8 does not divide the width)."""
    if kind == "batch":
        return (nn.BatchNorm1d if axes == 1 else nn.BatchNorm2d)(width)
    return nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if width % groups == 0), width)


class TimeEncoder(nn.Module, ABC):
    """Base class of encoders that compute features over time and pool them.

    Gaps are interpolated. A channel without any sample is replaced by a learned constant. Time steps without any sample
    are excluded from pooling. A window shorter than ``least`` is padded at its beginning, and the padding is masked.

    Args:
        channels: C.
        token_dim: E', features per time step.
        least: smallest number of samples that the network accepts, at least 1.
        pooling: see `imu_video.encoders.layers.pooling`.
        segments: parts of equal length that are pooled separately.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E); `tokens` -> (B, S, E').
    """

    def __init__(self, *, channels: int, token_dim: int, least: int, pooling: Pooling, segments: int) -> None:
        super().__init__()
        if channels < 1 or token_dim < 1:
            raise ConfigError(f"{type(self).__name__}: channels and widths must be at least 1, got {channels=}")
        self.channels, self.token_dim, self.least = channels, token_dim, least
        self.pooling, self.segments = pooling, segments
        self.feature_dim = pooled_width(pooling, segments, token_dim)
        self.missing = nn.Parameter(torch.zeros(channels))

    @abstractmethod
    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        """Features over time of windows without gaps.

        Args:
            x: (B, C, T), T at least ``least``.
            valid: (B, C, T) bool, True where measured.

        Shapes: -> (B, E', S).
        """

    def tokens(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features over time (B, S, E'), oldest first."""
        return self._tokens(imu, mask)[0]

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of normalised windows (B, C, T); ``mask`` is True where measured."""
        tokens, mask = self._tokens(imu, mask)
        valid = valid_tokens(mask, tokens.shape[1])
        return pool_tokens(tokens, valid, pooling=self.pooling, segments=self.segments)

    def _tokens(self, imu: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        filled, mask = self.filled(imu, mask)
        return self.over_time(filled, mask).transpose(1, 2), mask

    def filled(self, imu: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Windows of at least ``least`` samples without gaps, as `over_time` takes them, and their mask (B, C, T)."""
        check_window(imu, mask, self.channels)
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        short = self.least - imu.shape[-1]
        if short > 0:
            imu, mask = F.pad(imu, (short, 0)), F.pad(mask, (short, 0))
        return torch.where(mask.any(-1, keepdim=True), fill_gaps(imu, mask), self.missing[:, None].to(imu.dtype)), mask
