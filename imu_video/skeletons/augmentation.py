"""Random augmentation of joint positions in their normal form; augmentations of IMU windows are in `transforms`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imu_video.runtime.distributed import GlobalDraws
from imu_video.skeletons.geometry import turn


@dataclass(frozen=True, kw_only=True)
class SkeletonAugmentation:
    """Random augmentation of normalised skeletons that preserves the movement.

    Args:
        body: standard deviation of a shift per joint, constant over the augmented skeleton, in torso lengths.
        rotation: largest turn about the vertical, degrees; the largest tilt is a third of it.
        scale: largest relative change of size.
        jitter: standard deviation of noise on every coordinate, in torso lengths.
        shear: largest shift of each axis by each other one, in torso lengths per torso length.
        crop: smallest fraction of the time that is kept.
        warp: largest bend of the time axis, 0 .. 1.
        lost: probability that a joint is missing.
    """

    body: float = 0.1
    rotation: float = 30.0
    scale: float = 0.15
    jitter: float = 0.01
    shear: float = 0.0
    crop: float = 0.7
    warp: float = 0.2
    lost: float = 0.1

    def __call__(self, joints: Tensor, draws: GlobalDraws) -> Tensor:
        """Augment each skeleton once. Shapes: (B, F, J, 3) -> (B, F, J, 3), vertical second."""

        def uniform(*shape: int, most: float) -> Tensor:
            return ((draws.uniform(*shape) * 2 - 1) * most).to(joints.device)

        def normal(*shape: int, sigma: float) -> Tensor:
            return (draws.normal(*shape) * sigma).to(joints.device)

        batch, frames, number, _ = joints.shape
        x = self._retimed(joints, draws)
        x = turn(x, torch.deg2rad(uniform(batch, most=self.rotation)))
        tilt = torch.deg2rad(uniform(batch, most=self.rotation / 3))
        x = turn(x[..., [1, 0, 2]], tilt)[..., [1, 0, 2]]
        if self.shear:
            aside = uniform(batch, 3, 3, most=self.shear) * (1 - torch.eye(3, device=joints.device))
            x = x + torch.einsum("bfjk,bkl->bfjl", x, aside)
        x = x * (1 + uniform(batch, 1, 1, 1, most=self.scale))
        return x + normal(batch, 1, number, 3, sigma=self.body) + normal(batch, frames, number, 3, sigma=self.jitter)

    def kept(self, batch: int, joints: int, draws: GlobalDraws) -> Tensor:
        """(B, 1, 1, J, 1) float: 0 where a joint is missing in the whole augmented skeleton, else 1."""
        return (draws.uniform(batch, 1, 1, joints, 1) > self.lost).float()

    def _retimed(self, joints: Tensor, draws: GlobalDraws) -> Tensor:
        batch, frames = joints.shape[:2]
        share = self.crop + (1 - self.crop) * draws.uniform(batch, 1)
        start = (1 - share) * draws.uniform(batch, 1)
        bend = self.warp * (2 * draws.uniform(batch, 1) - 1) / (2 * math.pi)
        phase = 2 * math.pi * draws.uniform(batch, 1)
        t = torch.linspace(0, 1, frames, device=share.device)[None]
        t = t + bend * (torch.sin(2 * math.pi * t + phase) - torch.sin(phase))
        place = ((start + share * t).clamp(0, 1) * (frames - 1)).to(joints.device)
        left = place.long().clamp(max=frames - 2)
        rest = (place - left)[:, :, None, None]
        row = torch.arange(batch, device=joints.device)[:, None]
        return joints[row, left] * (1 - rest) + joints[row, left + 1] * rest
