"""Inertial windows as shard members; `recordings` resamples, conditions and cuts IMU streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from imu_video.errors import ConfigError
from imu_video.modalities.base import Modality, Parts, StreamSpec
from imu_video.registry import modalities


class ImuSpec(StreamSpec):
    """One device's windows: rate, T time steps, names of the C channels; the same for all devices of a folder."""

    channels: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, T)."""
        return (len(self.channels), self.frames)


@modalities.register("imu")
class Imu(Modality):
    """Specific force and angular rate of one device per placement: the modality that every recording has.

    Recordings keep their IMU devices in ``Recording.imu``, and `recordings.windows.cut` resamples all of them on one
    grid before it cuts, because gaps, filters and gravity need the whole recording. The index states rate, channels,
    units and placements for the folder as a whole. This class defines the names and the format of the members.

    Args:
        fps: above 0; not used, because the rate of a folder is ``window.rate_hz``.

    Shapes: (C, T) float32, NaN where nothing was measured.
    """

    name: ClassVar[str] = "imu"
    axes: ClassVar[str] = "C T"
    unit: ClassVar[str] = "m/s^2, rad/s"
    parts: ClassVar[Parts] = "named"
    part: ClassVar[str] = "placement"
    noun: ClassVar[str] = "window"
    spec: ClassVar[type[StreamSpec]] = ImuSpec

    def sample(self, stream: Any, times: np.ndarray) -> np.ndarray:
        """Linear interpolation, without the filters of `recordings.signal`. Shapes: -> (C, F)."""
        return np.stack([np.interp(times, stream.times, row) for row in stream.values]).astype(np.float32)

    def select(self, stored: np.ndarray, frames: Sequence[int]) -> np.ndarray:
        return np.ascontiguousarray(stored[:, list(frames)])

    def describe(self, stream: Any, values: np.ndarray) -> ImuSpec:
        if self.fps is None:
            raise ConfigError("IMU windows have no rate", hint="window.rate_hz=50")
        return ImuSpec(fps=self.fps, frames=values.shape[1], channels=tuple(stream.channels))
