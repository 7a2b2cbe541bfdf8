"""Joint positions as a modality: interpolated in time, stored as float32 arrays; geometry is in `skeletons`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.base import Drawing, Modality, StreamSpec
from imu_video.registry import modalities


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

    def sample(self, stream: SkeletonTrack, times: np.ndarray) -> np.ndarray:
        flat = stream.joints.reshape(len(stream.times), -1)
        moved = np.stack([np.interp(times, stream.times, column) for column in flat.T], axis=1)
        return moved.reshape(len(times), len(stream.names), 3).astype(np.float32)

    def describe(self, stream: SkeletonTrack, values: np.ndarray) -> SkeletonSpec:
        if self.fps is None:
            raise ConfigError("skeletons have no rate", hint="window.skeleton_fps=12.5")
        return SkeletonSpec(fps=self.fps, frames=len(values), joints=tuple(stream.names))
