"""Frames of a clip as input of an image model, and pooling of its features over time; no models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from imu_video.errors import ConfigError

Pooling = Literal["mean", "std", "mean_std", "mean_diff", "segments"]
"""How frame features are pooled over time; see `imu_video.teachers.timm_frames.FrameTeacher`."""


def normalised_pictures(inputs: Tensor, image_size: int, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Crop the central square, resize with anti-aliasing and normalise the colours.

    Args:
        inputs: (..., H, W, 3) uint8.
        image_size: S, side of the result in pixels.
        mean, std: of each colour, in units of 0..255.

    Shapes: -> (N, 3, S, S) float32, with all leading axes flattened into N.
    """
    height, width = inputs.shape[-3:-1]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    pictures = inputs[..., top : top + side, left : left + side, :].reshape(-1, side, side, 3).permute(0, 3, 1, 2)
    if side != image_size:
        size = (image_size, image_size)
        pictures = F.interpolate(pictures.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
    centre, spread = (torch.tensor(tuple(x), device=inputs.device).view(3, 1, 1) for x in (mean, std))
    return (pictures.float() - centre) / spread


@dataclass(frozen=True, kw_only=True)
class StatedColours:
    """`normalised_pictures` with settings of a config, in place of a model's own preprocessing.

    Args:
        image_size: side of the pictures in pixels.
        mean, std: of each colour, in units of 0..255.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Shapes: (..., H, W, 3) uint8 -> (N, 3, S, S) float32."""
        return normalised_pictures(inputs, self.image_size, mean=self.mean, std=self.std).contiguous()

    def describe(self) -> dict[str, Any]:
        """All settings as JSON, for the description of a teacher."""
        return {
            "crop": "middle square",
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def picture_recipe(*, image_size: int, frames: int, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """The input part of a teacher's recipe: `normalised_pictures` of `middle_frames`.

    Args:
        image_size: side of the pictures in pixels.
        frames: number of frames per clip.
        mean, std: per colour channel, for values in [0, 1].
    """
    return {
        "transform": StatedColours(image_size=image_size, mean=tuple(mean), std=tuple(std)).describe(),
        "sampler": {"frames": frames, "rule": "middles of equal stretches"},
    }


def middle_frames(frames: int, *, count: int) -> list[int]:
    """Indices of the frames at the centres of ``count`` equal parts of a clip of ``frames`` frames.

    In a clip of fewer frames than ``count`` some frames are repeated.

    Example:
        >>> middle_frames(8, count=2), middle_frames(2, count=3)
        ([2, 6], [0, 1, 1])
    """
    return [int((i + 0.5) * frames / count) for i in range(count)]


def pooled_parts(pooling: Pooling, segments: int) -> int:
    """Width after `pool_frames` in widths of one frame.

    Example:
        >>> pooled_parts("mean_std", 2), pooled_parts("segments", 3)
        (2, 3)
    """
    return {"mean": 1, "std": 1, "mean_std": 2, "mean_diff": 2, "segments": segments}[pooling]


def pool_frames(features: Tensor, pooling: Pooling, segments: int = 2) -> Tensor:
    """Pool frame features over time; see `Pooling`.

    Shapes: (B, F, E) -> (B, E), (B, 2E) or (B, segments * E).

    Raises:
        ConfigError: more segments than frames.

    Example:
        >>> pool_frames(torch.tensor([[[1.0], [3.0]]]), "mean_diff").tolist()
        [[2.0, 2.0]]
    """
    mean = features.mean(1)
    if pooling == "mean":
        return mean
    if pooling in ("std", "mean_std"):
        spread = features.std(1, unbiased=False)
        return spread if pooling == "std" else torch.cat([mean, spread], dim=-1)
    if pooling == "mean_diff":
        change = features.diff(dim=1).abs()
        return torch.cat([mean, change.mean(1) if change.shape[1] else torch.zeros_like(mean)], dim=-1)
    if features.shape[1] < segments:
        raise ConfigError(
            f"pooling over {segments} segments needs at least {segments} frames, the clip has {features.shape[1]}"
        )
    return torch.cat([part.mean(1) for part in features.tensor_split(segments, dim=1)], dim=-1)
