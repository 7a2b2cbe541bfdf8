"""Small convolutional encoders of published systems: the HAROOD CNN and ColloSSL's TPN."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count
from imu_video.encoders.layers.convolutional import Norm, TimeEncoder, norm_layer
from imu_video.encoders.layers.pooling import Pooling
from imu_video.errors import ConfigError
from imu_video.registry import encoders


def valid_length(samples: int, *, kernels: tuple[int, ...], pool: int = 1) -> int:
    """Number of steps after valid convolutions, each followed by max pooling over ``pool`` steps.

    Example:
        >>> valid_length(125, kernels=(9, 9), pool=2)
        25
    """
    for kernel in kernels:
        samples = (samples - kernel + 1) // pool
    return samples


def needed_length(steps: int, *, kernels: tuple[int, ...], dilation: int = 1, pool: int = 1) -> int:
    """Smallest number of samples that gives ``steps`` output steps; the inverse of `valid_length`.

    Example:
        >>> needed_length(1, kernels=(24, 16, 8))
        46
    """
    for kernel in reversed(kernels):
        steps = steps * pool + dilation * (kernel - 1)
    return steps


@encoders.register("harood_cnn")
class HaroodCNN(TimeEncoder):
    """Two convolutions with max pooling, flattened: the CNN of HAROOD (KDD 2026, arXiv 2512.10807).

    C -> 16 -> 32 channels, each convolution (valid, kernel k) followed by norm, ReLU and max pooling over 2 steps.
    The flattened width is 32 * L2 with L1 = (T - k + 1) // 2 and L2 = (L1 - k + 1) // 2. Windows of a length other than
    ``samples`` are pooled to the same L2 steps.

    Args:
        channels: C.
        samples: T of training windows; filled in from the data.
        kernel: k; 9 (6 for windows of 50 or 200 samples in the paper's settings).
        norm: ``batch`` as released, or ``group``.

    Shapes: (B, C, T) -> (B, 32 * L2); tokens (B, S, 32).

    Example:
        >>> HaroodCNN(channels=45, samples=125).feature_dim
        800
    """

    def __init__(self, *, channels: Count = 6, samples: Count = 128, kernel: Count = 9, norm: Norm = "group") -> None:
        kernels = (kernel, kernel)
        steps = valid_length(samples, kernels=kernels, pool=2)
        if steps < 1:
            raise ConfigError(
                f"harood_cnn: kernel {kernel} is too long for windows of {samples} samples",
                hint=f"use windows of {needed_length(1, kernels=kernels, pool=2)} or more samples, or a smaller kernel",
            )
        super().__init__(
            channels=channels,
            token_dim=32,
            least=needed_length(1, kernels=kernels, pool=2),
            # One segment per output step: pooling then equals flattening for windows of the training length.
            pooling="mean",
            segments=steps,
        )
        self.layers = nn.Sequential(
            nn.Conv1d(channels, 16, kernel), norm_layer(norm, 16), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 32, kernel), norm_layer(norm, 32), nn.ReLU(), nn.MaxPool1d(2),
        )  # fmt: skip

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


@encoders.register("tpn")
class TPN(TimeEncoder):
    """Three valid convolutions and a global maximum: the encoder of ColloSSL (IMWUT 2022, arXiv 2202.00758).

    32, 64, 96 channels with kernels 24, 16, 8, each followed by ReLU and dropout; 86,720 parameters at six channels
    (and one learned value per channel for "missing").

    Args:
        channels: C.
        width: channels of the first convolution; 32.
        dropout: in [0, 1); 0.1. Non-zero values use torch's global generator, separately per rank.
        pooling: ``max`` as published, ``mean`` or ``mean_max``.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, 96) as published; tokens (B, T - 45, 96). Shorter windows are padded to 46 samples.

    Example:
        >>> sum(p.numel() for p in TPN().layers.parameters())
        86720
    """

    KERNELS = (24, 16, 8)

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Count = 32,
        dropout: BelowOne = 0.1,
        pooling: Pooling = "max",
        segments: Count = 1,
    ) -> None:
        widths = (width, 2 * width, 3 * width)
        super().__init__(
            channels=channels,
            token_dim=widths[-1],
            least=needed_length(1, kernels=self.KERNELS),
            pooling=pooling,
            segments=segments,
        )
        self.dropout = dropout
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, kernel)
            for before, after, kernel in zip((channels, *widths), widths, self.KERNELS, strict=False)
        )

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.dropout(F.relu(layer(x)), self.dropout, self.training)
        return x
