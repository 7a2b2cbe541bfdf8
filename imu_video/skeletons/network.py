"""A network over joint positions and their motion; the teacher trains it once, a trainable side with the student."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SkeletonEncoder(nn.Module):
    """Two streams of 1-D convolutions over time, concatenated, then averaged over equal time segments.

    Args:
        joints: J.
        width: channels of the narrowest layer.
        segments: number of time segments that are averaged.
        norm: builds the normalisation layer for a number of channels.

    Shapes: (B, 2, F, J, 3) -> (B, 4 * width * segments).
    """

    def __init__(
        self, *, joints: int, width: int, segments: int, norm: Callable[[int], nn.Module] = nn.BatchNorm1d
    ) -> None:
        super().__init__()
        self.segments = segments
        self.norm = norm
        self.point = self._stream(joints, width)
        self.motion = self._stream(joints, width)
        self.joined = nn.Sequential(
            nn.Conv1d(4 * width, 4 * width, 5, stride=2, padding=2), norm(4 * width), nn.ReLU(),
            nn.Conv1d(4 * width, 4 * width, 3, padding=1), norm(4 * width), nn.ReLU(),
        )  # fmt: skip

    def _stream(self, joints: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv1d(3 * joints, 2 * width, 5, padding=2), self.norm(2 * width), nn.ReLU(),
            nn.Conv1d(2 * width, 2 * width, 5, stride=2, padding=2), self.norm(2 * width), nn.ReLU(),
        )  # fmt: skip

    def over_time(self, x: Tensor) -> Tensor:
        """Features before averaging, four frames per step. Shapes: (B, 2, F, J, 3) -> (B, 4 * width, F / 4)."""
        point, motion = x.flatten(3).transpose(2, 3).unbind(1)
        out: Tensor = self.joined(torch.cat([self.point(point), self.motion(motion)], dim=1))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(self.over_time(x), self.segments).flatten(1)
