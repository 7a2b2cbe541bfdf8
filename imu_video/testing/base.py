"""Common parts of the checks: failing, building a component, random windows; no contracts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imu_video import registry
from imu_video.registry import Registry
from imu_video.runtime.distributed import gather

Component = Mapping[str, Any] | str | Any
"""A registered name, a config entry, or a built component."""


def require(condition: bool | Tensor, message: str) -> None:
    if not bool(condition):
        raise AssertionError(message)


def build(kind: Registry[Any], component: Component, **context: Any) -> Any:
    return kind.build(component, **context) if isinstance(component, str | Mapping) else component


def windows(rows: int, channels: int, samples: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, channels, samples, generator=torch.Generator().manual_seed(seed))


def made_batch(modality: str, *, rows: int, seed: int = 0) -> Tensor:
    """Random values in the axes of a modality, for checks that need no real data.

    Args:
        modality: registered name.
        rows: B.
        seed: of the values.
    """
    kind = registry.modalities.get(modality)
    sizes = {"F": 12, "J": 20, "H": 48, "W": 64}
    shape = (rows, *(int(axis) if axis.isdigit() else sizes.get(axis, 5) for axis in kind.axes.split()))
    generator = torch.Generator().manual_seed(seed)
    if kind.dtype == "uint8":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def rank_mean(x: Tensor) -> Tensor:
    """Mean over ranks, as DDP computes for gradients."""
    return gather(x[None]).mean(0)
