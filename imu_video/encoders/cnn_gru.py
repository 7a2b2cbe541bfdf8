"""Dilated convolutions and a recurrent layer: the IMU encoder of IMU2CLIP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count
from imu_video.encoders.cnn import needed_length
from imu_video.encoders.layers.convolutional import TimeEncoder
from imu_video.encoders.layers.pooling import Pooling
from imu_video.registry import encoders


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

    KERNELS = (10, 5, 5)
    DILATION = 2

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
            least=needed_length(1, kernels=self.KERNELS, dilation=self.DILATION, pool=pool),
            pooling=pooling,
            segments=segments,
        )
        # Without triads the amplitudes of the channels are kept relative to each other.
        parts: list[nn.Module] = [nn.GroupNorm(1 if channels % 3 else channels // 3, channels)]
        for before, kernel in zip((channels, width, width), self.KERNELS, strict=True):
            parts += [nn.Conv1d(before, width, kernel, dilation=self.DILATION, bias=False), nn.MaxPool1d(pool)]
        self.layers = nn.Sequential(*parts, nn.GroupNorm(4, width))
        self.gru = nn.GRU(width, hidden, batch_first=True)

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        states: Tensor = self.gru(self.layers(x).transpose(1, 2))[0]
        return states.transpose(1, 2)
