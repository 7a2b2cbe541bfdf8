"""Motion in the video files of DJI, Insta360, Sony and other cameras, through the package telemetry-parser.

The package decodes some dozens of formats of camera makers that publish none, and brings their axes to one convention
(gyroflow's). GoPro files are left to the reader `gopro`, which knows their clocks.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.files import finite, read_bytes, whole_lines
from imu_video.readers.members import head
from imu_video.registry import readers

_SENSORS = {"accl": ("acc", "m/s^2"), "gyro": ("gyr", "deg/s"), "magn": ("mag", "uT")}
_GCSV = b"GYROFLOW IMU LOG"
_VIDEO = (b"ftyp", b"mdat", b"moov", b"free", b"wide")


@readers.register("telemetry")
class CameraTelemetry(Reader):
    """Accelerometer and gyroscope of DJI, Insta360, Sony and other cameras, and Gyroflow logs (.gcsv).

    Example:
        >>> readers.build("telemetry").extra
        'readers'
    """

    name = "telemetry"
    title = "DJI, Insta360, Sony and other cameras; Gyroflow .gcsv"
    formats = (".mp4", ".mov", ".insv", ".gcsv")
    reads = "acceleration and angular rate of the camera, in the axes of Gyroflow"
    gravity = "included (raw accelerometer); Sony cameras with a processed one: the file does not say"
    clock = "beginning of the video, as the package reports it"
    url = "https://github.com/AdrianEddy/telemetry-parser"
    tested_on = "remade .gcsv, and GoPro files against the reader `gopro`; no file of DJI, Insta360 or Sony"
    extra = "readers"
    packages = ("telemetry-parser",)

    def read(self, path: Path) -> Reading:
        """All motion data that the package finds in the file."""
        package = _package()
        if not head(path, 1):
            raise RecordingError(f"{path}: no such file, or it is empty", hint="copy it from the camera again")
        camera, model, rows = _parsed(package, path)
        tracks: dict[str, Track] = {}
        faults = 0
        for key, (kind, unit) in _SENSORS.items():
            held = [(row["timestamp_ms"], row[key]) for row in rows if row.get(key) is not None]
            if not held:
                continue
            times = np.array([t for t, _ in held], dtype=np.float64) / 1e3
            values = finite(np.array([v for _, v in held], dtype=np.float64).reshape(len(held), -1))
            if values.shape[1] != 3:
                raise RecordingError(f"{path}: {key} has {values.shape[1]} axes, expected 3")
            track, wrong = Track(times=times, values=values.T, unit=unit).in_order()
            faults += wrong
            if len(track.times) > 1 and np.isfinite(track.values).any():
                tracks[kind] = track
        if not {kind for kind, track in tracks.items() if kind != "mag" and len(track.times) > 2}:
            raise RecordingError(
                f"{path}: no sample of an accelerometer or a gyroscope ({camera} {model})",
                hint="use the original file of the camera, recorded with its motion data switched on",
            )
        notes: tuple[str, ...] = (f"{faults} samples out of order or repeated: sorted or dropped",) if faults else ()
        if path.suffix.lower() == ".gcsv" and (cut := whole_lines(read_bytes(path))[1]):
            tracks = {
                k: Track(times=t.times[:-1], values=t.values[:, :-1], unit=t.unit)
                for k, t in tracks.items()
                if len(t.times) > 2
            }
            notes += cut
        tags = {"camera": f"{camera} {model}".strip(), "axes": "gyroflow"}
        return Reading(devices=(DeviceReading(name="camera", tracks=tracks),), tags=tags, notes=notes)

    def recognises(self, path: Path) -> str | None:
        """A Gyroflow log by its first line; a video by the camera that the package names."""
        begin = head(path, 32)
        if begin.startswith(_GCSV):
            return "line 1: GYROFLOW IMU LOG"
        if path.suffix.lower() not in (".mp4", ".mov", ".insv") or begin[4:8] not in _VIDEO:
            return None
        try:
            camera, model, _ = _parsed(_package(), path, samples=False)
        except (RecordingError, ConfigError):
            return None
        return None if camera == "GoPro" else f"video of a {camera} {model} with motion data".replace("  ", " ")


def _package() -> Any:
    try:
        import telemetry_parser
    except ImportError as error:
        raise ConfigError(
            f"the reader telemetry needs the package telemetry-parser ({error})",
            hint="pip install 'imu-video[readers]'",
        ) from error
    return telemetry_parser


def _parsed(package: Any, path: Path, *, samples: bool = True) -> tuple[str, str, list[dict[str, Any]]]:
    """Camera, model and samples in m/s^2 and deg/s."""
    try:
        parser = package.Parser(str(path))
        rows = parser.normalized_imu() if samples else []
        found = [row for row in rows or [] if math.isfinite(row["timestamp_ms"])]
        return str(parser.camera or ""), str(parser.model or ""), found
    # A fault inside the package is a PanicException of Rust, which is no Exception; stop signals must pass.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | MemoryError):
            raise
        raise RecordingError(
            f"{path}: telemetry-parser cannot read it: {str(error)[:200]}",
            hint="use the original file of the camera; programs that cut or convert videos drop its motion data",
        ) from error
