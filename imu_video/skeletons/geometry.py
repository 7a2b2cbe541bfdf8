"""Geometry of joint positions: normal form and input streams; augmentation.py varies them, network.py reads them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imu_video.errors import ConfigError, nearest


def held_ends_removed(joints: Tensor, frames: int) -> Tensor:
    """Resample the moving part of each skeleton to ``frames`` steps, linearly.

    A window longer than its recording repeats the first and last frame. Frames at either end that repeat their
    neighbour exactly are therefore dropped, and so are frames with a missing joint. A skeleton without any motion keeps
    all its frames.

    Shapes: (B, F, J, 3) -> (B, frames, J, 3); rows with fewer than two complete frames become NaN.

    Example:
        >>> held = torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0]).view(1, 5, 1, 1).expand(1, 5, 1, 3)
        >>> held_ends_removed(held, 3)[0, :, 0, 0].tolist()
        [0.0, 1.0, 2.0]
    """
    count = joints.shape[1]
    there = joints.isfinite().all(-1).all(-1)
    order = (~there).int().argsort(dim=1, stable=True)  # complete frames first, in order
    number = there.sum(1)
    row = torch.arange(len(joints), device=joints.device)[:, None]
    x = joints[row, order]
    steps = torch.arange(count - 1, device=joints.device)
    moves = (x.diff(dim=1).abs().amax(dim=(2, 3)) > 0) & (steps < number[:, None] - 1)
    still = ~moves.any(1)
    first = torch.where(still, 0, moves.int().argmax(1))
    last = torch.where(still, number - 1, count - 1 - moves.flip(1).int().argmax(1)).clamp(min=0)
    times = order.to(joints.dtype)
    begin, end = times.gather(1, first[:, None]), times.gather(1, last[:, None])
    wanted = torch.linspace(0, 1, frames, device=joints.device, dtype=joints.dtype) * (end - begin) + begin
    known = torch.where(torch.arange(count, device=joints.device) < number[:, None], times, torch.inf)
    left = torch.searchsorted(known, wanted, right=True) - 1
    left = torch.minimum(torch.maximum(left, first[:, None]), (last - 1).clamp(min=0)[:, None])
    right = (left + 1).clamp(max=count - 1)
    share = (wanted - times.gather(1, left)) / (times.gather(1, right) - times.gather(1, left))
    out = x[row, left] * (1 - share[..., None, None]) + x[row, right] * share[..., None, None]
    return torch.where((number >= 2)[:, None, None, None], out, torch.nan)


def level(joints: Tensor, up: int) -> Tensor:
    """Permute the coordinates cyclically so that the vertical axis is second. Shapes: (..., 3) -> (..., 3)."""
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


CENTRES = ("hip_center", "pelvis", "hips", "mid_hip", "spine_base", "root")
TOPS = ("shoulder_center", "neck", "spine_shoulder", "thorax", "chest")
"""Joint names tried in this order for the two ends of the torso."""

_MOTION_GAIN = 8.0  # scales differences between neighbouring frames to the magnitude of positions


class BodyFrame:
    """The normal form of skeletons: moving part only, upright, facing front, centred on the hips, torso length 1.

    Args:
        joints: names of the J joints in order.
        frames: time steps after resampling.
        align: turn every skeleton to the front; needs hips or shoulders named ``left_*`` and ``right_*``.
        centre: joint at the lower end of the torso; the first known name of CENTRES when None.
        top: joint at the upper end of the torso; the first known name of TOPS when None.
        owner: name of the component in errors.

    Raises:
        ConfigError: no known torso joints, or no left and right joints although ``align`` needs them.
    """

    def __init__(
        self,
        *,
        joints: Sequence[str],
        frames: int,
        align: bool = True,
        centre: str | None = None,
        top: str | None = None,
        owner: str = "skeleton",
    ) -> None:
        self.frames = frames
        self.centre = _find(centre, CENTRES, joints, "centre", owner)
        self.top = _find(top, TOPS, joints, "top", owner)
        self.sides = _sides(joints, owner) if align else []

    def vertical(self, joints: Tensor) -> int | None:
        """The vertical axis, along which torsos extend in (N, F, J, 3); None if no frame has both ends of a torso."""
        torso = (joints[:, :, self.top] - joints[:, :, self.centre]).reshape(-1, 3).double()
        torso = torso[torso.isfinite().all(1)]
        return int(torso.mean(0).abs().argmax()) if len(torso) else None

    def __call__(self, joints: Tensor, up: int) -> Tensor:
        """The normal form, in at least float32; NaN for skeletons with fewer than two complete frames.

        Shapes: (B, F, J, 3) metres -> (B, frames, J, 3) torso lengths, vertical second.
        """
        joints = joints.to(torch.promote_types(joints.dtype, torch.float32))
        x = level(held_ends_removed(joints, self.frames), up)
        length = (x[:, :, self.top] - x[:, :, self.centre]).norm(dim=-1).mean(1).clamp_min(1e-3)
        x = (x - x[:, :, self.centre].mean(1)[:, None, None]) / length[:, None, None, None]
        return turn_to_front(x, self.sides) if self.sides else x


def streams(poses: Tensor, centre: int) -> Tensor:
    """Positions and their change from frame to frame.

    Positions are relative to the hips of the same frame horizontally, but keep their height: a squat lowers them, and
    walking across the floor appears in the change only.

    Shapes: (B, F, J, 3) -> (B, 2, F, J, 3).
    """
    motion = torch.zeros_like(poses)
    motion[:, 1:] = poses.diff(dim=1) * _MOTION_GAIN
    floor = poses[:, :, centre : centre + 1] * poses.new_tensor([1.0, 0.0, 1.0])
    return torch.stack([poses - floor, motion], dim=1)


def _find(given: str | None, usual: Sequence[str], joints: Sequence[str], argument: str, owner: str) -> int:
    """Number of the named joint, or of the first default joint that exists."""
    if given is not None:
        if given not in joints:
            raise ConfigError(f"{owner}: {argument}={given!r} is not a joint{nearest(given, joints)}")
        return list(joints).index(given)
    for name in usual:
        if name in joints:
            return list(joints).index(name)
    raise ConfigError(
        f"{owner}: none of {list(usual)} is among the joints {list(joints)}", hint=f"set {argument}=JOINT"
    )


def _sides(joints: Sequence[str], owner: str) -> list[tuple[int, int]]:
    """Pairs of left and right hips and shoulders."""
    names = list(joints)
    pairs = [(f"left_{part}", f"right_{part}") for part in ("hip", "shoulder")]
    found = [(names.index(left), names.index(right)) for left, right in pairs if left in names and right in names]
    if not found:
        raise ConfigError(
            f"{owner}: no left_hip, right_hip, left_shoulder, right_shoulder among the joints {names}",
            hint="set align: false",
        )
    return found
