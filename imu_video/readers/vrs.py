"""VRS files of Project Aria glasses: their two IMUs, through projectaria-tools; no other streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import head
from imu_video.registry import readers

LABELS = ("imu-right", "imu-left")
_MAGIC = b"VisionRe"


@readers.register("vrs")
class Vrs(Reader):
    """The IMUs of Aria glasses, devices ``imu_right`` (1000 Hz) and ``imu_left`` (800 Hz).

    Example:
        >>> readers.build("vrs").extra
        'aria'
    """

    name = "vrs"
    title = "Project Aria glasses (VRS)"
    formats = (".vrs",)
    reads = "acceleration and angular rate of both IMUs; invalid samples are left out and counted"
    gravity = "included"
    clock = "first sample; device time"
    url = "https://facebookresearch.github.io/projectaria_tools"
    tested_on = "a stand-in for the package"
    extra = "aria"
    packages = ("projectaria-tools",)

    def read(self, path: Path) -> Reading:
        """Both IMUs from the first to the last sample."""
        module = aria_provider()
        if not head(path, 1):
            raise RecordingError(f"{path}: no such file, or it is empty", hint="copy the file again")
        provider = open_vrs(module, path)
        found: dict[str, dict[str, Track]] = {}
        notes = []
        for label in LABELS:
            tracks, invalid = imu_tracks(provider, label)
            if tracks:
                found[label.replace("-", "_")] = tracks
            if invalid:
                notes.append(f"{label}: {invalid} samples marked invalid: left out")
        if not found:
            raise RecordingError(
                f"{path}: no samples of {' or '.join(LABELS)}", hint="download the file with its IMU streams"
            )
        zero = min(float(t.times[0]) for tracks in found.values() for t in tracks.values())
        devices = tuple(
            DeviceReading(
                name=name,
                tracks={k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in tracks.items()},
                gravity=True,
            )
            for name, tracks in found.items()
        )
        return Reading(devices=devices, notes=tuple(notes), tags={"device_time_s": f"{zero:.6f}"})

    def recognises(self, path: Path) -> str | None:
        """The magic word of VRS."""
        return "begins with the magic word of VRS" if head(path, 8) == _MAGIC else None


def aria_provider() -> Any:
    """The module `projectaria_tools.core.data_provider`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from projectaria_tools.core import data_provider
    except ImportError as error:
        raise ConfigError(
            f"a VRS file needs the package projectaria-tools ({error})", hint="pip install 'imu-video[aria]'"
        ) from error
    return data_provider


def open_vrs(module: Any, path: Path) -> Any:
    """The provider of a file.

    Raises:
        RecordingError: the package cannot open it.
    """
    try:
        provider = module.create_vrs_data_provider(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise RecordingError(f"{path}: projectaria-tools: {error}", hint="download the file again") from error
    if provider is None:
        raise RecordingError(f"{path}: projectaria-tools cannot open it", hint="download the file again")
    return provider


def imu_tracks(
    provider: Any, label: str, *, start: float = -np.inf, end: float = np.inf
) -> tuple[dict[str, Track], int]:
    """Acceleration and angular rate of one IMU within an interval of device time, and the number of invalid samples.

    Args:
        provider: of `open_vrs`.
        label: stream, one of `LABELS`; one that the file lacks has no tracks.
        start, end: seconds of device time.
    """
    identity = provider.get_stream_id_from_label(label)
    if identity is None:
        return {}, 0
    rows: dict[str, list[list[float]]] = {"acc": [], "gyr": []}
    invalid = 0
    for index in range(provider.get_num_data(identity)):
        sample = provider.get_imu_data_by_index(identity, index)
        time = sample.capture_timestamp_ns / 1e9
        if not start <= time <= end:
            continue
        invalid += not (sample.accel_valid and sample.gyro_valid)
        if sample.accel_valid:
            rows["acc"].append([time, *sample.accel_msec2])
        if sample.gyro_valid:
            rows["gyr"].append([time, *sample.gyro_radsec])
    tracks = {}
    for kind, unit in (("acc", "m/s^2"), ("gyr", "rad/s")):
        if len(rows[kind]) > 1:
            table = np.array(rows[kind]).T
            tracks[kind] = Track(times=table[0], values=table[1:], unit=unit)
    return tracks, invalid
