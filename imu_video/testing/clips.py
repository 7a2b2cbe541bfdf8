"""Contract check of clip augmentations; their effect on training is not measured."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from imu_video import registry
from imu_video.testing.base import Component, build, require


def check_clip_augmentation(augmentation: Component) -> None:
    """Check that a clip augmentation is a function of (clip, generator).

    Shape and type kept, input untouched, the same generator the same result, no global randomness, all frames changed
    in the same way, ``p=0`` the identity.

    Args:
        augmentation: name, config entry or built component.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_clip_augmentation({"name": "crop", "min_area": 0.5})
    """
    component = build(registry.clip_augmentations, augmentation)
    name = type(component).__name__
    frame = torch.randint(0, 256, (1, 24, 32, 3), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    clip = frame.repeat(4, 1, 1, 1)
    before, state = clip.clone(), torch.get_rng_state()
    for seed in range(8):  # several seeds, so that the clip is changed by at least one of them for small p as well
        out = component(clip, torch.Generator().manual_seed(seed))
        require(
            out.shape == clip.shape and out.dtype == torch.uint8,
            f"{name}: expected uint8 {tuple(clip.shape)}, got {out.dtype} {tuple(out.shape)}",
        )
        require(torch.equal(clip, before), f"{name} changes its input in place")
        again = component(clip, torch.Generator().manual_seed(seed))
        require(torch.equal(again, out), f"{name}: one generator, two results")
        require(bool((out == out[:1]).all()), f"{name} changes the frames of a clip differently")
    require(torch.equal(torch.get_rng_state(), state), f"{name} draws from torch's global generator")
    if isinstance(augmentation, str | Mapping):
        entry = {"name": augmentation} if isinstance(augmentation, str) else dict(augmentation)
        never = registry.clip_augmentations.build({**entry, "p": 0.0})
        require(torch.equal(never(clip, torch.Generator().manual_seed(7)), clip), f"{name}: p=0 must change nothing")
