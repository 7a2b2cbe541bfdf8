"""Geometry of joint positions for the skeleton teacher: normal form and random views; the network is in skeleton.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def held_ends_removed(joints: Tensor, frames: int) -> Tensor:
    """Resample the moving part of each skeleton to ``frames`` steps, linearly.

    Windows longer than their recording hold its first and last frame; frames at either end that repeat their neighbour
    exactly are therefore dropped, and so are frames with a missing joint. Nothing moves: all frames stay.

    Shapes: (B, F, J, 3) -> (B, frames, J, 3); rows with fewer than two complete frames become NaN.

    Example:
        >>> held = torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]).view(1, 5, 1, 1).expand(1, 5, 1, 3)
        >>> held_ends_removed(held, 3)[0, :, 0, 0].tolist()
        [0.0, 1.0, 2.0]
    """
    out = joints.new_full((len(joints), frames, *joints.shape[2:]), torch.nan)
    for row, sample in enumerate(joints):
        places = sample.isfinite().all(-1).all(-1).nonzero()[:, 0]
        if len(places) < 2:
            continue
        there = sample[places]
        moves = (there.diff(dim=0).abs().amax(dim=(1, 2)) > 0).nonzero()[:, 0]
        first, last = (int(moves[0]), int(moves[-1]) + 1) if len(moves) else (0, len(places) - 1)
        times = places.to(joints.dtype)
        wanted = torch.linspace(0, 1, frames, device=joints.device) * (times[last] - times[first]) + times[first]
        left = (torch.searchsorted(times, wanted, right=True) - 1).clamp(first, last - 1)
        share = ((wanted - times[left]) / (times[left + 1] - times[left]))[:, None, None]
        out[row] = there[left] * (1 - share) + there[left + 1] * share
    return out


def level(joints: Tensor, up: int) -> Tensor:
    """Turn the coordinates cyclically so that the vertical comes second. Shapes: (..., 3) -> (..., 3)."""
    return joints[..., [(up - 1) % 3, up, (up + 1) % 3]]


def turn(joints: Tensor, angle: Tensor) -> Tensor:
    """Rotate about the vertical (second) axis by ``angle`` (B,) radians. Shapes: (B, F, J, 3) -> (B, F, J, 3)."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x, y, z = joints.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)


def turn_to_front(joints: Tensor, sides: Sequence[tuple[int, int]]) -> Tensor:
    """Turn each skeleton about the vertical until its mean left-to-right direction is the first axis.

    Args:
        joints: (B, F, J, 3), vertical second.
        sides: pairs of joint numbers, left and right.

    Returns:
        (B, F, J, 3).
    """
    left, right = ([pair[i] for pair in sides] for i in (0, 1))
    across = (joints[:, :, right] - joints[:, :, left]).mean(dim=(1, 2))
    return turn(joints, torch.atan2(across[:, 2], across[:, 0]))


@dataclass(frozen=True, kw_only=True)
class Views:
    """Random views of normalised skeletons that show the same movement.

    Args:
        body: standard deviation of a shift of each joint that stays for the whole view, in torso lengths.
        rotation: largest turn about the vertical, degrees; the largest tilt is a third of it.
        scale: largest relative change of size.
        jitter: standard deviation of noise on every coordinate, in torso lengths.
        crop: smallest share of the time that is kept.
        warp: largest bend of the time axis, 0 .. 1.
        lost: chance that a joint is missing.
    """

    body: float = 0.1
    rotation: float = 30.0
    scale: float = 0.15
    jitter: float = 0.01
    crop: float = 0.7
    warp: float = 0.2
    lost: float = 0.1

    def __call__(self, joints: Tensor, generator: torch.Generator) -> Tensor:
        """One random view. Shapes: (B, F, J, 3) -> (B, F, J, 3), vertical second."""

        def uniform(*shape: int, most: float) -> Tensor:
            return ((torch.rand(*shape, generator=generator) * 2 - 1) * most).to(joints.device)

        def normal(*shape: int, sigma: float) -> Tensor:
            return (torch.randn(*shape, generator=generator) * sigma).to(joints.device)

        batch, frames, number, _ = joints.shape
        x = self._retimed(joints, generator)
        x = turn(x, torch.deg2rad(uniform(batch, most=self.rotation)))
        tilt = torch.deg2rad(uniform(batch, most=self.rotation / 3))
        x = turn(x[..., [1, 0, 2]], tilt)[..., [1, 0, 2]]
        x = x * (1 + uniform(batch, 1, 1, 1, most=self.scale))
        return x + normal(batch, 1, number, 3, sigma=self.body) + normal(batch, frames, number, 3, sigma=self.jitter)

    def kept(self, batch: int, joints: int, generator: torch.Generator) -> Tensor:
        """(B, 1, 1, J, 1) float: 0 where a joint is missing in the whole view, else 1."""
        return (torch.rand(batch, 1, 1, joints, 1, generator=generator) > self.lost).float()

    def _retimed(self, joints: Tensor, generator: torch.Generator) -> Tensor:
        batch, frames = joints.shape[:2]
        share = self.crop + (1 - self.crop) * torch.rand(batch, 1, generator=generator)
        start = (1 - share) * torch.rand(batch, 1, generator=generator)
        bend = self.warp * (2 * torch.rand(batch, 1, generator=generator) - 1) / (2 * math.pi)
        phase = 2 * math.pi * torch.rand(batch, 1, generator=generator)
        t = torch.linspace(0, 1, frames)[None]
        t = t + bend * (torch.sin(2 * math.pi * t + phase) - torch.sin(phase))
        place = ((start + share * t).clamp(0, 1) * (frames - 1)).to(joints.device)
        left = place.long().clamp(max=frames - 2)
        rest = (place - left)[:, :, None, None]
        row = torch.arange(batch, device=joints.device)[:, None]
        return joints[row, left] * (1 - rest) + joints[row, left + 1] * rest
