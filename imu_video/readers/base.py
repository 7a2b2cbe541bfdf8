"""What a reader of a device's or an app's file returns, and the base class of readers; no file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.types import Segment

TRACK_UNITS: dict[str, tuple[str, ...]] = {
    "acc": ("m/s^2", "g", "mg"),
    "gyr": ("rad/s", "deg/s"),
    "mag": ("uT",),
}
"""Units of a track by sensor."""


def in_order(times: np.ndarray) -> tuple[np.ndarray, int]:
    """Rows sorted by time, without rows that have no time or repeat one (the first stays), and the number of faults.

    Example:
        >>> rows, faults = in_order(np.array([0.0, 2.0, np.nan, 1.0, 1.0]))
        >>> rows.tolist(), faults
        ([0, 3, 1], 3)
    """
    known = np.flatnonzero(np.isfinite(times))
    back = int(np.count_nonzero(np.diff(times[known]) < 0))
    _, first = np.unique(times[known], return_index=True)
    return known[first], len(times) - len(first) + back


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One three-axis sensor in the units of its file.

    Args:
        times: (T,) seconds.
        values: (3, T) in ``unit``; NaN where missing.
        unit: one of `TRACK_UNITS`.
    """

    times: np.ndarray
    values: np.ndarray
    unit: str

    def in_order(self) -> tuple[Track, int]:
        """Samples sorted by time, without those that have no time or repeat one, and the number of faults.

        Example:
            >>> track = Track(times=np.array([0.0, 2.0, 1.0, 1.0]), values=np.ones((3, 4)), unit="g")
            >>> repaired, faults = track.in_order()
            >>> repaired.times.tolist(), faults
            ([0.0, 1.0, 2.0], 2)
        """
        rows, faults = in_order(self.times)
        return replace(self, times=self.times[rows], values=self.values[:, rows]), faults


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceReading:
    """One device of a file: its sensors, each on its own times.

    Args:
        name: ``phone``, ``watch``; its name in the file, lower case. The owner declares the placement.
        tracks: ``acc``, ``gyr`` and ``mag``, as far as the device has them; times increase strictly.
        gravity: True if the acceleration includes gravity, False if it was removed, None if the file does not say.
        tags: facts about the device: model, serial number, range.
    """

    name: str
    tracks: Mapping[str, Track]
    gravity: bool | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """The content of one file or export, on one clock: seconds from a zero that the file defines.

    Args:
        devices: in a stable order, names distinct.
        segments: annotations of the file, on the same clock.
        tags: facts about the recording: app, platform, time zone.
        notes: facts with counts for the quality report: ``6 of 145 blocks damaged: skipped``.
        start_utc: POSIX seconds of time 0, or None if the file does not say.

    Raises:
        RecordingError: no device, or two of one name.
    """

    devices: tuple[DeviceReading, ...]
    segments: tuple[Segment, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    start_utc: float | None = None

    def __post_init__(self) -> None:
        names = [device.name for device in self.devices]
        if not names or len(set(names)) != len(names):
            raise RecordingError(f"a reading needs devices with distinct names, got {names}")

    def device(self, name: str | None = None, *, source: str) -> DeviceReading:
        """The device of that name, or the only one.

        Args:
            name: its name; None if the file has one device.
            source: file, for error messages.

        Raises:
            ConfigError: no such device, or several and no name.

        Example:
            >>> track = Track(times=np.arange(2.0), values=np.ones((3, 2)), unit="g")
            >>> reading = Reading(devices=(DeviceReading(name="watch", tracks={"acc": track}),))
            >>> reading.device(source="export.zip").name
            'watch'
        """
        names = [device.name for device in self.devices]
        if name is None and len(names) > 1:
            raise ConfigError(
                f"{source}: contains the devices {', '.join(names)}, but the declaration names none",
                hint=f"name one per placement: reader: {{name: ..., device: {names[0]}}}",
            )
        for device in self.devices:
            if name in (None, device.name):
                return device
        raise ConfigError(
            f"{source}: contains no device {name!r}{nearest(str(name), names)}",
            hint=f"its devices are: {', '.join(names)}",
        )


class Reader(ABC):
    """Base class of readers: one kind of file of a device or an app. A reader keeps no state between files.

    Its keyword-only constructor arguments are the options that `dataset.yaml` may give beside its name. Class
    attributes tell users what is read; docs/reference/readers.md is generated from them.

    Attributes:
        name: registered name.
        title: the device or app and its maker.
        formats: endings of the files, lower case with the dot; ``/`` for a folder.
        reads: sensors, annotations and tags that are read.
        gravity: whether accelerations include gravity, and how that is known.
        clock: origin of the times.
        url: documentation of the format.
        tested_on: ``real files`` or ``remade files``.
        extra: optional dependency that it needs, or None.
        version: incremented whenever the same file gives other values; part of a build's digest.
        packages: distributions whose versions determine the values; part of a build's digest.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    formats: ClassVar[tuple[str, ...]]
    reads: ClassVar[str]
    gravity: ClassVar[str]
    clock: ClassVar[str]
    url: ClassVar[str] = ""
    tested_on: ClassVar[str] = "remade files"
    extra: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, path: Path) -> Reading:
        """All motion data of the file.

        Raises:
            RecordingError: a missing, damaged, truncated or foreign file.
            ConfigError: an optional dependency is missing, or an option contradicts the file.
        """

    def files(self, path: Path) -> tuple[Path, ...]:
        """The files that `read` opens for this path: the file itself, or every file below a folder."""
        return tuple(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else (path,)

    @abstractmethod
    def recognises(self, path: Path) -> str | None:
        """Evidence that the file is of this kind, or None. Reads little and never raises."""
