"""A small teacher with seeded random weights for tests and dry runs; its features are not meaningful."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from imu_video.modalities.base import modality_of
from imu_video.registry import teachers
from imu_video.teachers.base import FrozenTeacher


@teachers.register("tiny")
class TinyTeacher(FrozenTeacher):
    """A fixed random map of coarse appearance and its variation over time.

    Args:
        modality: registered modality of its samples: images, points (F, J, 3), or values (F, ...).
        dim: number of features, in [1, 4096].
        seed: seed of the random map.
        projection: see `FrozenTeacher`.

    Example:
        >>> TinyTeacher(dim=8).encode(torch.zeros(2, 4, 32, 32, 3, dtype=torch.uint8)).shape
        torch.Size([2, 8])
    """

    matrix: Tensor

    def __init__(
        self,
        *,
        modality: str = "video",
        dim: Annotated[int, Field(ge=1, le=4096)] = 32,
        seed: int = 0,
        projection: str | Mapping[str, Any] = "identity",
    ) -> None:
        modality_of(modality)  # raises for an unknown modality
        super().__init__(width=dim, projection=projection)
        self.modality = modality  # type: ignore[misc]  # the one teacher that takes any modality
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("matrix", torch.randn(2 * self._grid * self._grid * 3, dim, generator=generator) / 8)
        self.freeze()

    _grid = 8

    def features(self, inputs: Tensor) -> Tensor:
        coarse = self._coarse(inputs)
        summary = torch.cat([coarse.mean(1), coarse.std(1, unbiased=False)], dim=-1)
        return torch.tanh(summary @ self.matrix)

    def _coarse(self, inputs: Tensor) -> Tensor:
        """(B, F, 192): the frame on an 8 x 8 grid, or points (B, F, J, 3) resampled to 64 positions."""
        batch, frames = inputs.shape[:2]
        if not inputs.is_floating_point():
            pictures = inputs.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
            small = F.adaptive_avg_pool2d(pictures, (self._grid, self._grid))
        else:
            points = inputs if inputs.ndim == 4 else inputs.flatten(2)[..., None].expand(-1, -1, -1, 3)
            points = points - points.mean(dim=(1, 2), keepdim=True)
            small = F.adaptive_avg_pool1d(points.flatten(0, 1).transpose(1, 2), self._grid**2)
        return small.reshape(batch, frames, -1)

    def recipe(self) -> dict[str, Any]:
        return {"name": "tiny", "modality": self.modality, "seed": self.seed, "licence": "Apache-2.0"}
