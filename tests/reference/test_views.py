"""Pairs of devices, crops and rotations about gravity against loops that are given the same draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from imu_video.runtime.distributed import GlobalDraws
from imu_video.shards.batches import plan
from imu_video.transforms import Crop, Rotate
from tests.reference.naive_views import about_gravity, crop, second_device


class Given(GlobalDraws):
    """Uniform draws in the order in which they are listed."""

    def __init__(self, *values: Tensor) -> None:
        self.values = list(values)

    def uniform(self, rows: int, *shape: int) -> Tensor:
        value = self.values.pop(0)
        assert value.shape == (rows, *shape)
        return value


def windows(rows: int, samples: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    imu = torch.randn(rows, 6, samples, generator=generator, dtype=torch.float64)
    imu[:, 2] += 3
    return imu, torch.rand(rows, 6, samples, generator=generator) < 0.7


def test_second_devices() -> None:
    rng = np.random.default_rng(0)
    present = rng.random((200, 4)) < 0.5
    first = rng.integers(4, size=200)
    present[np.arange(200), first] = True
    generator = plan._generator(3, 2, plan._SECOND)
    draws = generator.random(200)
    expected = [second_device(*row) for row in zip(present.tolist(), first.tolist(), draws.tolist(), strict=True)]
    assert plan.second_device_plan(present, first, seed=3, epoch=2).tolist() == expected


@pytest.mark.parametrize("min_fraction", [0.02, 0.2, 0.9])
def test_crop(min_fraction: float) -> None:
    imu, mask = windows(30, 40)
    length, place = (torch.rand(30, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2))
    values, found = Crop(min_fraction=min_fraction).change(imu, mask, Given(length, place))
    rows = zip(mask.tolist(), length.tolist(), place.tolist(), strict=True)
    assert found.tolist() == [crop(m, a, b, min_fraction) for m, a, b in rows]
    assert torch.equal(values, imu)


def test_rotation_about_gravity() -> None:
    imu, _ = windows(12, 20)
    share = torch.rand(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    full = torch.ones_like(imu, dtype=torch.bool)
    found, _ = Rotate(max_degrees=180, axis="gravity").change(imu, full, Given(share))
    expected = [about_gravity(row, math.pi * s) for row, s in zip(imu.tolist(), share.tolist(), strict=True)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9)
