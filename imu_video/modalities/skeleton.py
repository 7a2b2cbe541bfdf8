"""Joint positions as a modality: interpolated in time, stored as float32 arrays; geometry is in `skeletons`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.base import Curve, Drawing, Modality, StreamSpec
from imu_video.registry import modalities

BONES: dict[str, tuple[str, str]] = {
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "wrist": ("elbow", "wrist"),
    "hand": ("wrist", "hand"),
    "thigh": ("hip", "knee"),
    "pocket": ("hip", "knee"),
    "shin": ("knee", "ankle"),
    "shank": ("knee", "ankle"),
    "ankle": ("knee", "ankle"),
    "foot": ("ankle", "foot"),
}
"""Joints (without side) at the ends of the bone on which a sensor at this placement is worn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SkeletonTrack:
    """Joint positions over time.

    Args:
        times: (F,) seconds, increasing.
        joints: (F, J, 3) metres.
        names: of the J joints.

    Raises:
        RecordingError: axes that do not fit together.
    """

    times: np.ndarray
    joints: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        expected = (len(self.times), len(self.names), 3)
        if self.joints.shape != expected:
            raise RecordingError(f"skeleton: joints have shape {self.joints.shape}, expected (F, J, 3) = {expected}")


class SkeletonSpec(StreamSpec):
    """Skeletons of the folder: frames per second, frames F, and the names of the J joints."""

    provisional: ClassVar[Mapping[str, Any]] = {"joints": []}
    joints: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, J, 3)."""
        return (self.frames, len(self.joints), 3)

    @property
    def text(self) -> str:
        return f"{super().text}, {len(self.joints)} joints"

    @property
    def context(self) -> dict[str, Any]:
        return {"joints": list(self.joints)}


@modalities.register("skeleton")
class Skeleton(Modality):
    """Joint positions of one subject, interpolated linearly between the frames of the track.

    Args:
        fps: frames per second of skeletons, above 0; ``window.skeleton_fps`` allows up to 1000. None: no skeletons.

    Shapes: (F, J, 3) float32 in metres.
    """

    name: ClassVar[str] = "skeleton"
    axes: ClassVar[str] = "F J 3"
    unit: ClassVar[str] = "m"
    noun: ClassVar[str] = "skeleton"
    spec: ClassVar[type[StreamSpec]] = SkeletonSpec
    drawing: ClassVar[Drawing] = "points"
    index_key: ClassVar[str | None] = "skeleton"
    window_keys: ClassVar[Mapping[str, str]] = {"fps": "skeleton_fps"}
    alignment_rank: ClassVar[int | None] = 2

    def sample(self, stream: SkeletonTrack, times: np.ndarray) -> np.ndarray:
        flat = stream.joints.reshape(len(stream.times), -1)
        moved = np.stack([np.interp(times, stream.times, column) for column in flat.T], axis=1)
        return moved.reshape(len(times), len(stream.names), 3).astype(np.float32)

    def describe(self, stream: SkeletonTrack, values: np.ndarray) -> SkeletonSpec:
        if self.fps is None:
            raise ConfigError("skeletons have no rate", hint="window.skeleton_fps=12.5")
        return SkeletonSpec(fps=self.fps, frames=len(values), joints=tuple(stream.names))

    def motion(
        self, stream: SkeletonTrack, placements: Sequence[str], segments: Sequence[np.ndarray]
    ) -> Sequence[Sequence[Curve]]:
        return [[skeleton_motion(stream, placement)] for placement in placements]


def skeleton_motion(track: SkeletonTrack, placement: str | None = None) -> Curve:
    """Angular speed in rad/s of the bone at a placement; without that bone, the mean speed of all joints in m/s.

    A gyroscope measures rotation: on simulated wrists its magnitude correlates with the angular speed of the forearm at
    0.95, and with the speed of the wrist at 0.6.

    Args:
        track: joints over time; spaces, dots and dashes in names are read as underscores.
        placement: placement of the IMU. ``right_wrist`` uses the bone from ``right_elbow`` to ``right_wrist``; without
            a side, or if the joints have other names, all joints are used.
    """
    names = [name.lower().replace(" ", "_").replace("-", "_").replace(".", "_") for name in track.names]
    side, _, part = (placement or "").partition("_")
    bone = [f"{side}_{joint}" for joint in BONES.get(part, ())]
    steps = np.maximum(np.diff(track.times), 1e-6)
    if bone and set(bone) <= set(names):
        along = track.joints[:, names.index(bone[1])] - track.joints[:, names.index(bone[0])]
        along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
        speed = np.linalg.norm(np.diff(along, axis=0), axis=1)[:, None] / steps[:, None]
    else:
        speed = np.linalg.norm(np.diff(track.joints, axis=0), axis=2) / steps[:, None]
    known = np.isfinite(speed)
    mean = np.where(known, speed, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    keep = known.any(axis=1)
    breaks = 1.5 * float(np.median(steps)) if len(steps) else 1.0
    return Curve(times=((track.times[1:] + track.times[:-1]) / 2)[keep], values=mean[keep], breaks=2 * breaks)
