"""What the checks share: one way to fail, to build a component, to draw windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

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


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def rank_mean(x: Tensor) -> Tensor:
    """Mean over ranks, as DDP does to gradients."""
    return gather(x[None]).mean(0)
