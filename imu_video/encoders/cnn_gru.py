"""Dilated convolutions and a recurrent layer: the IMU encoder of IMU2CLIP."""

from __future__ import annotations

from torch import Tensor, nn

from imu_video.encoders.cnn import needed_length
from imu_video.encoders.layers.convolutional import TimeEncoder
from imu_video.encoders.layers.pooling import Pooling
from imu_video.errors import ConfigError
from imu_video.registry import encoders


@encoders.register("cnn_gru")
class CnnGru(TimeEncoder):
    """Group norm, three dilated convolutions with max pooling, group norm, GRU (IMU2CLIP's MW2StackRNNPooling).

    Moon et al. 2022 (arXiv 2210.14395). The input's group norm has one group a sensor: it takes each window's mean and
    amplitude away.

    Args:
        channels: C, a multiple of 3 (one group a sensor triad).
        width: channels of the convolutions, a multiple of 4; 32.
        hidden: width of the GRU, at least 1; 512.
        pool: steps of each max pooling, at least 1; 3 at 200 Hz. The network reaches over 141 samples at 3, 74 at 2:
            shorter windows are lengthened, so take 2 or 1 at low rates.
        pooling: ``last`` state as published, or ``mean``, ``max``, ``mean_max`` of the states.
        segments: stretches pooled apart; 1.

    Shapes: (B, C, T) -> (B, hidden); tokens are the states (B, S, hidden).

    Example:
        >>> CnnGru(hidden=16).feature_dim
        16
    """

    KERNELS = (10, 5, 5)
    DILATION = 2

    def __init__(
        self,
        *,
        channels: int = 6,
        width: int = 32,
        hidden: int = 512,
        pool: int = 3,
        pooling: Pooling = "last",
        segments: int = 1,
    ) -> None:
        if channels % 3 or width < 4 or width % 4 or hidden < 1 or pool < 1:
            raise ConfigError(
                "cnn_gru: channels must be a multiple of 3, width of 4, hidden and pool at least 1; "
                f"got {channels=}, {width=}, {hidden=}, {pool=}"
            )
        super().__init__(
            channels=channels,
            token_dim=hidden,
            least=needed_length(1, kernels=self.KERNELS, dilation=self.DILATION, pool=pool),
            pooling=pooling,
            segments=segments,
        )
        parts: list[nn.Module] = [nn.GroupNorm(channels // 3, channels)]
        for before, kernel in zip((channels, width, width), self.KERNELS, strict=True):
            parts += [nn.Conv1d(before, width, kernel, dilation=self.DILATION, bias=False), nn.MaxPool1d(pool)]
        self.layers = nn.Sequential(*parts, nn.GroupNorm(4, width))
        self.gru = nn.GRU(width, hidden, batch_first=True)

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        states: Tensor = self.gru(self.layers(x).transpose(1, 2))[0]
        return states.transpose(1, 2)
