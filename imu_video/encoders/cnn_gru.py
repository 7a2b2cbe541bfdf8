"""Dilated convolutions and a recurrent layer: the IMU encoders of IMU2CLIP and PRIMUS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count
from imu_video.encoders.cnn import needed_length
from imu_video.encoders.layers.convolutional import TimeEncoder
from imu_video.encoders.layers.pooling import Pooling
from imu_video.registry import encoders

KERNELS = (10, 5, 5)
DILATION = 2


@encoders.register("cnn_gru")
class CNNGRU(TimeEncoder):
    """Group norm, three dilated convolutions with max pooling, group norm, GRU (IMU2CLIP's MW2StackRNNPooling).

    Moon et al. 2022 (arXiv 2210.14395). The input's group norm has one group per sensor and removes the mean and the
    amplitude of each window.

    Args:
        channels: C; a multiple of 3 is normalised by sensor triads, another number as one group.
        width: channels of the convolutions, a positive multiple of 4; 32.
        hidden: width of the GRU; 512.
        pool: steps of each max pooling; 3 at 200 Hz. The receptive field is 141 samples with 3, 74 with 2;
            shorter windows are padded, so use 2 or 1 at low rates.
        pooling: ``last`` state as published, or ``mean``, ``max``, ``mean_max`` of the states.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, hidden); tokens are the states (B, S, hidden).

    Example:
        >>> CNNGRU(hidden=16).feature_dim
        16
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Annotated[int, Field(ge=4, multiple_of=4)] = 32,
        hidden: Count = 512,
        pool: Count = 3,
        pooling: Pooling = "last",
        segments: Count = 1,
    ) -> None:
        super().__init__(
            channels=channels,
            token_dim=hidden,
            least=needed_length(1, kernels=KERNELS, dilation=DILATION, pool=pool),
            pooling=pooling,
            segments=segments,
        )
        pools = [nn.MaxPool1d(pool) for _ in KERNELS]
        self.layers = _convolutions(channels, width, pools)
        self.gru = nn.GRU(width, hidden, batch_first=True)

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        states: Tensor = self.gru(self.layers(x).transpose(1, 2))[0]
        return states.transpose(1, 2)


@encoders.register("primus")
class PRIMUS(TimeEncoder):
    """The network of `cnn_gru` with a fixed number of steps before the GRU, and an optional linear head (PRIMUS).

    Das et al. 2024 (arXiv 2411.15127): the features of the third convolution are averaged over ``steps`` equal parts in
    place of the third max pooling. The source trains two linear heads behind the last state, one for the contrast with
    video and text, one for that of augmented windows, and evaluates the features of the former.

    Args:
        channels: C; one group per sensor triad where 3 divides it, otherwise one group.
        width: channels of the convolutions, a positive multiple of 4; 32.
        hidden: width of the GRU and of the head; 512.
        pool: steps of the first two max poolings; 3, at 50 Hz.
        steps: parts that the features are averaged over; 32. The parts overlap where there are fewer time steps.
        head: whether a linear map follows the pooled state.
        pooling: ``last`` state as published, or ``mean``, ``max``, ``mean_max`` of the states.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, hidden) with the head; tokens are the states (B, steps, hidden).

    Example:
        >>> PRIMUS(hidden=16).feature_dim
        16
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Annotated[int, Field(ge=4, multiple_of=4)] = 32,
        hidden: Count = 512,
        pool: Count = 3,
        steps: Count = 32,
        head: bool = True,
        pooling: Pooling = "last",
        segments: Count = 1,
    ) -> None:
        third = needed_length(1, kernels=KERNELS[2:], dilation=DILATION)
        super().__init__(
            channels=channels,
            token_dim=hidden,
            least=needed_length(third, kernels=KERNELS[:2], dilation=DILATION, pool=pool),
            pooling=pooling,
            segments=segments,
        )
        pools = [nn.MaxPool1d(pool), nn.MaxPool1d(pool), nn.AdaptiveAvgPool1d(steps)]
        self.layers = _convolutions(channels, width, pools)
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.head: nn.Module = nn.Identity()
        if head:
            self.head = nn.Linear(self.feature_dim, hidden)
            self.feature_dim = hidden

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        features: Tensor = self.head(super().forward(imu, mask))
        return features

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        states: Tensor = self.gru(self.layers(x).transpose(1, 2))[0]
        return states.transpose(1, 2)


def _convolutions(channels: int, width: int, pools: Sequence[nn.Module]) -> nn.Sequential:
    """Group norm with one group per sensor, three dilated convolutions with pooling, group norm with four groups."""
    # Without triads the amplitudes of the channels are kept relative to each other.
    parts: list[nn.Module] = [nn.GroupNorm(1 if channels % 3 else channels // 3, channels)]
    for before, kernel, pool in zip((channels, width, width), KERNELS, pools, strict=True):
        parts += [nn.Conv1d(before, width, kernel, dilation=DILATION, bias=False), pool]
    return nn.Sequential(*parts, nn.GroupNorm(4, width))
