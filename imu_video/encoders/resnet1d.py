"""A residual network over time with activation before convolution, as ssl-wearables uses for wrist accelerometers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count, OddCount
from imu_video.encoders.layers.convolutional import Norm, TimeEncoder, norm_layer
from imu_video.encoders.layers.pooling import Pooling
from imu_video.encoders.layers.residual import PreActivationBlock
from imu_video.registry import encoders


@encoders.register("resnet1d")
class ResNet1d(TimeEncoder):
    """Pre-activation residual network of 1-D convolutions (the ResNet-18-V2 of Yuan et al. 2024, arXiv 2206.02909).

    A stem, then one stage per entry of ``blocks``: each stage except the first doubles the width and halves the number
    of steps.

    Args:
        channels: C; the source uses 3 (accelerometer) at 30 Hz over 10 s.
        width: channels of the stem and first stage; 64.
        blocks: residual blocks of each stage; (2, 2, 2, 2) makes 18 layers.
        kernel: samples per convolution, at least 1 and odd; 5.
        norm: ``batch`` as published, or ``group``.
        pooling: ``mean``, ``max`` or ``mean_max``.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, 8 * width) with four stages; tokens (B, S, 8 * width), about T / 16 of them.

    Example:
        >>> ResNet1d(width=8, blocks=(1, 1)).feature_dim
        16
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Count = 64,
        blocks: Annotated[tuple[Count, ...], Field(min_length=1)] = (2, 2, 2, 2),
        kernel: OddCount = 5,
        norm: Norm = "group",
        pooling: Pooling = "mean",
        segments: Count = 1,
    ) -> None:
        last = width * 2 ** (len(blocks) - 1)
        super().__init__(channels=channels, token_dim=last, least=1, pooling=pooling, segments=segments)
        parts: list[nn.Module] = [nn.Conv1d(channels, width, kernel, stride=2, padding=kernel // 2, bias=False)]
        before = width
        for stage, count in enumerate(blocks):
            after = width * 2**stage
            for number in range(count):
                stride = 2 if stage and not number else 1
                parts.append(PreActivationBlock(before, after, kernel=kernel, stride=stride, norm=norm))
                before = after
        self.layers = nn.Sequential(*parts, norm_layer(norm, last), nn.ReLU())

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out
