"""The residual network of ssl-wearables for wrist accelerometers, whose published weights load into it; no head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.arguments import Count
from imu_video.encoders.layers.convolutional import Norm, TimeEncoder, norm_layer
from imu_video.encoders.layers.pooling import Pooling
from imu_video.encoders.layers.residual import PreActivationBlock
from imu_video.registry import encoders

RATE_HZ = 30.0
"""Sampling rate of the published networks."""
KERNEL = 5


@dataclass(frozen=True)
class Stage:
    """A stage: convolution, residual blocks, norm, ReLU, and a reduction of the rate.

    Args:
        width: channels, as a multiple of those of the first stage.
        blocks: residual blocks.
        factor: samples of which one remains.
        order: of the smoothing filter: 0 a box of ``factor`` samples, 1 two boxes in a row, 2 three.
    """

    width: int
    blocks: int
    factor: int
    order: int


STAGES: dict[int, tuple[Stage, ...]] = {
    5: (Stage(1, 2, 2, 2), Stage(2, 2, 2, 2), Stage(4, 2, 3, 1), Stage(4, 2, 3, 1), Stage(8, 0, 3, 1)),
    10: (Stage(1, 2, 2, 2), Stage(2, 2, 2, 2), Stage(4, 2, 5, 1), Stage(8, 2, 5, 1), Stage(16, 0, 3, 1)),
    30: (Stage(1, 2, 3, 1), Stage(2, 2, 3, 1), Stage(4, 2, 5, 1), Stage(8, 2, 5, 1), Stage(16, 0, 4, 0)),
}
"""Stages of the networks for windows of 5, 10 and 30 s at 30 Hz, which all end with one step."""


@encoders.register("harnet")
class Harnet(TimeEncoder):
    """Pre-activation residual network with smoothed reductions of the rate: harnet5, harnet10 and harnet30.

    Yuan et al. 2024 (arXiv 2206.02909; the released network). Convolutions are circular: beyond its ends the window
    continues with its other end. Before every reduction of the rate a fixed filter smooths the features (Zhang 2019,
    arXiv 1904.11486), so that a shift of the input by one sample changes them little.

    Args:
        channels: C; the source uses 3, an accelerometer in g at 30 Hz.
        seconds: length of the windows that the network is built for, at 30 Hz: 5, 10 or 30.
        width: channels of the first stage; 64. The last stage has 16 times as many (8 times for 5 s).
        norm: ``batch`` as published (its statistics are per rank), or ``group``.
        pooling: ``mean``, ``max``, ``mean_max`` or ``last`` over the steps of a longer window; a window of the
            published length has one step.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, 16 * width); tokens (B, S, 16 * width), one per 300 samples (108 for 5 s, 900 for 30 s).
        Shorter windows are padded to that length.

    Example:
        >>> model = Harnet(seconds=30, width=4)
        >>> model.feature_dim, model.tokens(torch.zeros(2, 3, 900)).shape
        (64, torch.Size([2, 1, 64]))
    """

    def __init__(
        self,
        *,
        channels: Count = 3,
        seconds: Literal[5, 10, 30] = 10,
        width: Count = 64,
        norm: Norm = "batch",
        pooling: Pooling = "mean",
        segments: Count = 1,
    ) -> None:
        stages = STAGES[seconds]
        # The filter of each stage is padded such that `factor` samples make one step.
        least = math.prod(stage.factor for stage in stages)
        super().__init__(
            channels=channels,
            token_dim=width * stages[-1].width,
            least=least,
            pooling=pooling,
            segments=segments,
        )
        self.stages = nn.ModuleList()
        before = channels
        for stage in stages:
            after = width * stage.width
            parts: list[nn.Module] = [
                nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2, padding_mode="circular", bias=False)
            ]
            parts += [
                PreActivationBlock(after, after, kernel=KERNEL, stride=1, norm=norm, padding_mode="circular")
                for _ in range(stage.blocks)
            ]
            parts += [norm_layer(norm, after), nn.ReLU(), SmoothedReduction(factor=stage.factor, order=stage.order)]
            self.stages.append(nn.Sequential(*parts))
            before = after

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


class SmoothedReduction(nn.Module):
    """Keep one of ``factor`` samples after smoothing with ``order + 1`` boxes of that many samples.

    Args:
        factor: at least 2.
        order: at least 0; ``order * (factor - 1)`` must be even, so that the filter is centred.

    Shapes: (B, E, T) -> (B, E, T // factor).

    Example:
        >>> SmoothedReduction(factor=2, order=2).kernel.tolist()
        [0.125, 0.375, 0.375, 0.125]
    """

    kernel: Tensor

    def __init__(self, *, factor: int, order: int) -> None:
        super().__init__()
        self.factor, self.padding = factor, order * (factor - 1) // 2
        self.register_buffer("kernel", smoothing_kernel(factor=factor, order=order), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(width, 1, -1)
        return F.conv1d(x, kernel, stride=self.factor, padding=self.padding, groups=width)


def smoothing_kernel(*, factor: int, order: int) -> Tensor:
    """A box of ``factor`` samples, convolved ``order`` times with itself, of sum 1.

    Args:
        factor: samples of the box.
        order: number of convolutions.

    Shapes: ((order + 1) * (factor - 1) + 1,).

    Example:
        >>> smoothing_kernel(factor=3, order=1).mul(9).tolist()
        [1.0, 2.0, 3.0, 2.0, 1.0]
    """
    box = [1] * factor
    kernel = box
    for _ in range(order):
        longer = [0] * (len(kernel) + factor - 1)
        for i, value in enumerate(kernel):
            for j in range(factor):
                longer[i + j] += value
        kernel = longer
    return torch.tensor(kernel, dtype=torch.float32) / sum(kernel)
