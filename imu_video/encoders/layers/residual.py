"""Residual blocks of 1-D convolutions over time, activation before or after; encoders assemble them.

Both orders exist because published networks and exported weights depend on them: the order determines the position of
the norms, whether convolutions have a bias, and the names of the weights.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.encoders.layers.convolutional import Norm, norm_layer


class PreActivationBlock(nn.Module):
    """Norm, ReLU, convolution, twice, and a residual (He et al. 2016, arXiv 1603.05027, figure 4e).

    Args:
        before, after: channels of input and output, at least 1.
        kernel: samples, odd.
        stride: of the first convolution, at least 1.
        norm: see `norm_layer`.
        padding_mode: values beyond the ends of the window: ``zeros``, or ``circular``, the samples of its other end.

    Shapes: (B, before, T) -> (B, after, ceil(T / stride)).

    Example:
        >>> import torch
        >>> PreActivationBlock(4, 8, kernel=3, stride=2, norm="group")(torch.zeros(1, 4, 10)).shape
        torch.Size([1, 8, 5])
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        kernel: int,
        stride: int,
        norm: Norm,
        padding_mode: Literal["zeros", "circular"] = "zeros",
    ) -> None:
        super().__init__()
        same: dict[str, Any] = {"padding": kernel // 2, "padding_mode": padding_mode, "bias": False}
        self.layers = nn.Sequential(
            norm_layer(norm, before), nn.ReLU(), nn.Conv1d(before, after, kernel, stride=stride, **same),
            norm_layer(norm, after), nn.ReLU(), nn.Conv1d(after, after, kernel, **same),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Conv1d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x) + self.shortcut(x)
        return out


class ResidualBlock(nn.Module):
    """Convolution and norm, twice, a residual, and ReLU after each (He et al. 2016, arXiv 1512.03385, figure 2).

    Args:
        before, after, kernel, stride, norm: see `PreActivationBlock`.

    Shapes: (B, before, T) -> (B, after, ceil(T / stride)).

    Example:
        >>> import torch
        >>> ResidualBlock(8, 8, kernel=3, stride=1, norm="group")(torch.zeros(1, 8, 10)).shape
        torch.Size([1, 8, 10])
    """

    def __init__(self, before: int, after: int, *, kernel: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, after, kernel, stride=stride, padding=kernel // 2)
        self.first_norm = norm_layer(norm, after)
        self.second = nn.Conv1d(after, after, kernel, padding=kernel // 2)
        self.second_norm = norm_layer(norm, after)
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv1d(before, after, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(h)) + self.shortcut(x))
