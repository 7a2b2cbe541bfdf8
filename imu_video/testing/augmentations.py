"""Contract check of augmentations; their effect on training is not measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from imu_video import registry
from imu_video.testing.base import Component, build, require, windows
from imu_video.types import GRAVITY


def check_augmentation(augmentation: Component) -> None:
    """Check that an augmentation is a function of (window, mask, generator).

    Shapes and types kept, inputs untouched, the same generator the same result, no global randomness, finite values,
    zeros where missing, values under a False mask without effect, ``p=0`` the identity.

    Args:
        augmentation: name, config entry or built component.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_augmentation({"name": "rotate", "max_degrees": 180})
    """
    component = build(registry.augmentations, augmentation)
    name = type(component).__name__
    imu = windows(8, 6, 100) + torch.tensor([0, 0, GRAVITY, 0, 0, 0])[:, None]
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[0, :, :30] = False
    mask[1, 3:] = False
    mask[2] = False
    imu = torch.where(mask, imu, 0)
    before = imu.clone(), mask.clone(), torch.get_rng_state(), str(np.random.get_state(legacy=False))  # noqa: NPY002
    out, out_mask = component(imu, mask, torch.Generator().manual_seed(7))
    require(
        out.shape == imu.shape
        and out.dtype == imu.dtype
        and out_mask.shape == mask.shape
        and out_mask.dtype == torch.bool,
        f"{name}: expected {imu.dtype} and bool {tuple(imu.shape)}, got {out.dtype} {tuple(out.shape)} and "
        f"{out_mask.dtype} {tuple(out_mask.shape)}",
    )
    require(torch.equal(imu, before[0]) and torch.equal(mask, before[1]), f"{name} changes its inputs in place")
    untouched = torch.equal(torch.get_rng_state(), before[2])
    untouched &= str(np.random.get_state(legacy=False)) == before[3]  # noqa: NPY002
    require(untouched, f"{name} draws from a global generator: draw from the one passed in")
    again, again_mask = component(imu, mask, torch.Generator().manual_seed(7))
    require(torch.equal(again, out) and torch.equal(again_mask, out_mask), f"{name}: one generator, two results")
    require(out.isfinite().all(), f"{name} makes values that are not finite")
    require((out[~out_mask] == 0).all(), f"{name}: values where the mask is False must be zero")
    require(not out_mask[2].any(), f"{name} makes up samples in a row where nothing was measured")
    spoiled, spoiled_mask = component(torch.where(mask, imu, 1e4), mask, torch.Generator().manual_seed(7))
    require(
        torch.equal(spoiled, out) and torch.equal(spoiled_mask, out_mask),
        f"{name}: values under a False mask change the result",
    )
    if isinstance(augmentation, str | Mapping):
        entry = {"name": augmentation} if isinstance(augmentation, str) else dict(augmentation)
        never = registry.augmentations.build({**entry, "p": 0.0})
        same, same_mask = never(imu, mask, torch.Generator().manual_seed(7))
        require(torch.equal(same, imu) and torch.equal(same_mask, mask), f"{name}: p=0 must change nothing")
