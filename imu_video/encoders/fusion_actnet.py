"""FusionActNet's networks: an expert for postures, an expert for movements, and a gate; classes and losses are outside.

The features of the three parts stand side by side, so that a head can give each expert its own classes and the gate the
choice between them (`fusion` in `eval.algorithms`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count
from imu_video.encoders.base import check_window, fill_gaps
from imu_video.encoders.layers.convolutional import Norm, norm_layer
from imu_video.encoders.layers.pooling import pool_tokens, valid_tokens
from imu_video.encoders.layers.residual import ResidualBlock
from imu_video.registry import encoders

Part = Literal["static", "dynamic", "gate"]
EXPERT = (1, 2, 4, 8, 8)
"""Channels of the blocks of an expert, as multiples of the width."""
LEAST = 2 ** len(EXPERT)
"""Samples that an expert's poolings reduce to one step."""


class SeparableBlock(nn.Module):
    """Depthwise convolution, norm, ReLU, pointwise convolution, norm; a 1x1 convolution around both, and ReLU.

    Shapes: (B, before, T) -> (B, after, T).
    """

    def __init__(self, before: int, after: int, *, norm: Norm) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(before, before, 3, padding=1, groups=before), norm_layer(norm, before), nn.ReLU(),
            nn.Conv1d(before, after, 1), norm_layer(norm, after),
        )  # fmt: skip
        self.shortcut = nn.Conv1d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.shortcut(x))


def expert(channels: int, width: int, norm: Norm) -> nn.Sequential:
    """Residual blocks of kernel 3, each followed by max pooling over two steps."""
    parts: list[nn.Module] = []
    before = channels
    for factor in EXPERT:
        parts += [ResidualBlock(before, factor * width, kernel=3, stride=1, norm=norm), nn.MaxPool1d(2)]
        before = factor * width
    return nn.Sequential(*parts)


def gate(channels: int, width: int, norm: Norm) -> nn.Sequential:
    """A convolution, then two, three and three separable blocks of twice, four and eight times its channels."""
    parts: list[nn.Module] = [nn.Conv1d(channels, width, 3, padding=1), norm_layer(norm, width), nn.ReLU()]
    before = width
    for after, count in ((2 * width, 2), (4 * width, 3), (8 * width, 3)):
        for _ in range(count):
            parts.append(SeparableBlock(before, after, norm=norm))
            before = after
    return nn.Sequential(*parts)


@encoders.register("fusion_actnet")
class FusionActNet(nn.Module):
    """Two residual networks and a small separable one, averaged over time (arXiv 2310.02011).

    Each expert has five residual blocks of 64, 128, 256, 512 and 512 channels with max pooling, the guidance network
    32, 64, 128 and 256 channels in separable blocks. The three share no weights.

    A block's shortcut is a 1x1 convolution where the number of channels changes, and the identity otherwise.

    Args:
        channels: C.
        width: channels of an expert's first block, a positive multiple of 2; 64 as published. The gate starts with half
            of it.
        norm: ``batch`` as published (its statistics are per rank), or ``group``.

    Shapes: imu (B, C, T), mask (B, C, T) bool or None -> (B, 20 * width): 8 * width of the static expert, 8 * width of
        the dynamic one, 4 * width of the gate; see `parts`. Windows below 32 samples are padded.

    Example:
        >>> model = FusionActNet(channels=9, width=8)
        >>> model(torch.zeros(2, 9, 128)).shape, model.parts["gate"]
        (torch.Size([2, 160]), slice(128, 160, None))
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Annotated[int, Field(ge=2, multiple_of=2)] = 64,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        self.channels = channels
        self.missing = nn.Parameter(torch.zeros(channels))
        self.networks = nn.ModuleDict(
            {
                "static": expert(channels, width, norm),
                "dynamic": expert(channels, width, norm),
                "gate": gate(channels, width // 2, norm),
            }
        )
        each, own = EXPERT[-1] * width, 4 * width
        self.parts: dict[str, slice] = {
            "static": slice(0, each),
            "dynamic": slice(each, 2 * each),
            "gate": slice(2 * each, 2 * each + own),
        }
        self.feature_dim = 2 * each + own
        self._frozen: frozenset[str] = frozenset()

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, 20 * width) of normalised windows (B, C, T); ``mask`` is True where measured."""
        check_window(imu, mask, self.channels)
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        short = LEAST - imu.shape[-1]
        if short > 0:
            imu, mask = F.pad(imu, (short, 0)), F.pad(mask, (short, 0))
        there = mask.any(-1, keepdim=True)
        x = torch.where(there, fill_gaps(imu, mask), self.missing[:, None].to(imu.dtype))
        features = []
        for name in self.parts:
            tokens = self.networks[name](x).transpose(1, 2)
            features.append(pool_tokens(tokens, valid_tokens(mask, tokens.shape[1])))
        return torch.cat(features, dim=1)

    def freeze(self, *parts: Part) -> None:
        """Exclude these parts from training, with the statistics of their norms; the others are trained."""
        self._frozen = frozenset(parts)
        for name, network in self.networks.items():
            network.requires_grad_(name not in parts)
        self.missing.requires_grad_(not parts)  # a value that frozen parts read
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            self.networks[name].eval()
        return self
