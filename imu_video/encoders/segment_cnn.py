"""A small residual network of 1-D convolutions whose features keep the temporal order; fast on a CPU; no head."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count, OddCount
from imu_video.encoders.base import check_window
from imu_video.encoders.layers.convolutional import Norm, norm_layer
from imu_video.encoders.layers.pooling import any_per_part
from imu_video.encoders.layers.residual import ResidualBlock
from imu_video.registry import encoders


@encoders.register("segment_cnn")
class SegmentCNN(nn.Module):
    """Residual 1-D convolutions with mean pooling over segments of the measured span and max pooling over all of it.

    The body is that of a residual network (He et al. 2016, arXiv 1512.03385) over time. Its output h (B, W, T') is
    pooled to

        z = [ sum_t a_1t h_t, ..., sum_t a_St h_t, max_t h_t ],     a_st ~ max(0, 1 - |u_t - s|),  sum_t a_st = 1

    where u_t in [0, S - 1] is the position of step t within the span from the first to the last measured sample: each
    of the S means covers one part of the movement, independent of its position in the window and its duration. A single
    mean could not distinguish sitting down from standing up. Steps outside the span are excluded.

    The input of the first layer is the C normalised channels, with zeros for missing samples, and the C masks.

    Args:
        channels: C.
        width: channels of the first stage, a positive multiple of 8; later stages are twice as wide. Sensible 16 to 64.
        blocks: residual blocks, at least 2; the second halves the rate. Sensible 2 to 6.
        kernel: samples per convolution, at least 1 and odd; sensible 3 to 9.
        stride: samples per step of the first layer; 4 at 50 Hz, sensible 1 to 8.
        segments: S; sensible 1 to 8.
        norm: ``batch``, or ``group`` (8 groups), which depends neither on the other rows nor on the number of
            processes.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, E) with E = 2 * width * (segments + 1).

    Raises:
        ConfigError: an argument out of range.

    Example:
        >>> SegmentCNN(width=16)(torch.zeros(2, 6, 200)).shape
        torch.Size([2, 160])
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Annotated[int, Field(ge=8, multiple_of=8)] = 32,
        blocks: Annotated[int, Field(ge=2)] = 3,
        kernel: OddCount = 5,
        stride: Count = 4,
        segments: Count = 4,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.channels = channels
        self.segments = segments
        self.feature_dim = 2 * width * (segments + 1)
        first = 2 * stride + 1
        self.stem = nn.Conv1d(2 * channels, width, first, stride=stride, padding=stride)
        self.stem_norm = norm_layer(norm, width)
        self.body = nn.Sequential(
            ResidualBlock(width, width, kernel=kernel, stride=1, norm=norm),
            ResidualBlock(width, 2 * width, kernel=kernel, stride=2, norm=norm),
            *(ResidualBlock(2 * width, 2 * width, kernel=kernel, stride=1, norm=norm) for _ in range(blocks - 2)),
        )

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of normalised windows (B, C, T); ``mask`` (B, C, T) is True where measured."""
        check_window(imu, mask, self.channels)
        if mask is None:
            mask = torch.ones_like(imu, dtype=torch.bool)
        x = torch.cat([torch.where(mask, imu, 0), mask.to(imu.dtype)], dim=1)
        h = self.body(F.relu(self.stem_norm(self.stem(x))))
        # Pooling in float32: under autocast, half precision would round the positions of steps and the small weights.
        return self._pool(h.float(), mask.any(1))

    def _pool(self, h: Tensor, measured: Tensor) -> Tensor:
        """(B, W, T') and (B, T) bool -> (B, W * (S + 1)); a row without any sample is pooled over everything."""
        steps = h.shape[-1]
        inside = any_per_part(measured, steps)
        inside = inside | ~inside.any(1, keepdim=True)
        place = torch.arange(steps, device=h.device, dtype=h.dtype)
        first = torch.where(inside, place, float(steps)).amin(1, keepdim=True)
        last = torch.where(inside, place, -1.0).amax(1, keepdim=True)
        span = (place >= first) & (place <= last)
        u = (place + 0.5 - first) / (last + 1 - first) * self.segments - 0.5
        u = u.clamp(0, self.segments - 1)
        centre = torch.arange(self.segments, device=h.device, dtype=h.dtype)
        weight = (1 - (u[..., None] - centre).abs()).clamp(min=0) * span[..., None]
        # If the span has fewer steps than segments, some segments contain no step. This small weight then makes their
        # value the mean of the nearest steps instead of 0 / 0.
        weight = weight + 1e-4 * torch.exp(-(u[..., None] - centre).abs()) * span[..., None]
        means = h @ (weight / weight.sum(1, keepdim=True))
        most = h.masked_fill(~span[:, None], -torch.inf).amax(-1)
        return torch.cat([means.flatten(1), most], dim=1)
