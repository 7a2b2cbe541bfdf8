"""Exports of the app Sensor Logger: ZIP, folder of CSV files, JSON and SQLite.

Format, units and signs: https://github.com/tszheichoi/awesome-sensor-logger (UNITS.md, COORDINATES.md). `Accelerometer`
has gravity removed on both platforms. With gravity there are `TotalAcceleration` (Android), the sum of `Gravity` and
`Accelerometer`, and `AccelerometerUncalibrated`. On iOS all accelerations have the opposite sign of a specific force,
and some are in g, unless "Standardise Units & Frames" was switched on in the app.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import head, names_in
from imu_video.readers.sensor_logger_sheets import MOTION, XYZ, Sheet, read_sheets, sensor_of, sqlite_tables
from imu_video.readers.sheets import ordered
from imu_video.registry import readers
from imu_video.types import GRAVITY, Segment

_PREFERRED: tuple[Literal["total", "sum", "uncalibrated", "linear"], ...]
_PREFERRED = ("total", "sum", "uncalibrated", "linear")
_LONGEST_BRIDGE_S = 0.2  # Gravity turns slowly: it is interpolated over at most this gap where its times differ


@readers.register("sensor_logger")
class SensorLogger(Reader):
    """The app Sensor Logger on Android, iPhone, Apple Watch, Wear OS and AirPods.

    Args:
        platform: of the phone. ``auto`` reads it from the export (`Metadata`, or evidence in the files); an export that
            does not name it is an error, since the sign of its accelerations is then unknown.
        standardised: whether "Standardise Units & Frames" was on. None reads it from the export.
        acceleration: which acceleration of the phone to read. ``auto``: with gravity if there is one (``total``, then
            ``sum`` of `Gravity` and `Accelerometer`, then ``uncalibrated``), else ``linear`` (gravity removed).
        annotations: ``until_next``: an annotation labels the time from its stamp to the next one, or to the end of the
            recording; one without text ends a label. ``off``: not read.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build({"name": "sensor_logger", "platform": "ios"}).formats
        ('.zip', '/', '.csv', '.json', '.sqlite', '.db')
    """

    name = "sensor_logger"
    title = "Sensor Logger (Kelvin Choi), Android and iOS"
    formats = (".zip", "/", ".csv", ".json", ".sqlite", ".db")
    reads = "acceleration, gyroscope, magnetometer of phone, watch and headphones; annotations as labels; metadata"
    gravity: ClassVar[str] = "included (TotalAcceleration, Gravity + Accelerometer, or uncalibrated), else removed"
    clock = "UTC; zero at the start of the recording"
    url = "https://github.com/tszheichoi/awesome-sensor-logger"
    tested_on = "real files (CSV of two phones); ZIP, JSON, SQLite, watch and headphones remade"

    def __init__(
        self,
        *,
        platform: Literal["auto", "android", "ios"] = "auto",
        standardised: bool | None = None,
        acceleration: Literal["auto", "total", "sum", "uncalibrated", "linear"] = "auto",
        annotations: Literal["until_next", "off"] = "until_next",
    ) -> None:
        self.platform, self.standardised = platform, standardised
        self.acceleration, self.annotations = acceleration, annotations

    def recognises(self, path: Path) -> str | None:
        start = head(path, 4096)
        if start.startswith(b"SQLite format 3\x00"):
            tables = set(sqlite_tables(path))
            found = sorted(tables & MOTION)
            return f"SQLite tables {', '.join(found[:3])}" if found and "Metadata" in tables | {"Metadata"} else None
        if path.suffix.lower() == ".json":
            known = re.search(rb'"sensor"\s*:\s*"(\w+)"', start)
            return (
                f'JSON records with "sensor": "{known[1].decode()}"' if known and b"seconds_elapsed" in start else None
            )
        if path.suffix.lower() == ".csv":
            own = sensor_of(path.name)
            header = start.split(b"\n", 1)[0]
            if own is None or b"seconds_elapsed" not in header:
                return None
            return f"file name {own[1]}.csv, columns time and seconds_elapsed"
        if path.is_dir() or start.startswith(b"PK"):
            sensors = sorted(own[1] for name in names_in(path) if (own := sensor_of(name)) is not None)
            found = [name for name in sensors if name in MOTION]
            return f"contains {', '.join(f'{name}.csv' for name in found[:3])}" if found else None
        return None

    def files(self, path: Path) -> tuple[Path, ...]:
        own = sensor_of(path.name) if path.is_file() and path.suffix.lower() == ".csv" else None
        if own is None:
            return super().files(path)
        return tuple(sorted(p for p in path.parent.iterdir() if (n := sensor_of(p.name)) and n[0] == own[0]))

    def read(self, path: Path) -> Reading:
        if not path.exists():
            raise RecordingError(f"{path}: no such file", hint="correct its path in the declaration")
        sheets = read_sheets(path)
        if not any(name in MOTION for name in sheets):
            raise RecordingError(
                f"{path}: no sensor of Sensor Logger in it, expected one of {', '.join(sorted(MOTION))}",
                hint="export the recording as ZIP, and declare the ZIP or its folder",
            )
        return _Export(path, sheets, self).reading()


class _Export:
    """The sensors of one export, put together into devices."""

    def __init__(self, path: Path, sheets: Mapping[str, Sheet], options: SensorLogger) -> None:
        self.path, self.sheets, self.options = path, sheets, options
        self.notes: list[str] = []
        self.metadata = _metadata(sheets.get("Metadata"))
        self.zero = self._zero()
        self.platform = self._platform()
        self.sign = self._sign()

    # ------------------------------------------------------------------------------------------ facts of the export

    def _zero(self) -> float:
        """POSIX seconds of time 0: ``time`` minus ``seconds_elapsed``."""
        for name in sorted(MOTION & set(self.sheets)):
            sheet = self.sheets[name]
            time, elapsed = sheet.columns.get("time"), sheet.columns.get("seconds_elapsed")
            if time is not None and elapsed is not None and np.isfinite(time - elapsed).any():
                return round(float(np.nanmedian(time / 1e9 - elapsed)), 6)
        try:
            return float(self.metadata.get("recording epoch time", "")) / 1e3
        except ValueError:
            first = [float(s.columns["time"][0]) for s in self.sheets.values() if "time" in s.columns]
            return min(first) / 1e9

    def _platform(self) -> str:
        told = self.metadata.get("platform", "").lower()
        told = told if told in ("android", "ios") else ""
        asked = self.options.platform
        if asked != "auto":
            if told and told != asked:
                raise ConfigError(
                    f"{self.path}: its Metadata contains platform {told}, the declaration says {asked}",
                    hint="remove `platform` from the reader's entry",
                )
            return asked
        # TotalAcceleration is recorded on Android only (UNITS.md).
        return told or ("android" if "TotalAcceleration" in self.sheets else "")

    def _standardised(self) -> bool | None:
        if self.options.standardised is not None:
            return self.options.standardised
        told = self.metadata.get("standardisation", "").lower()
        if told in ("true", "false"):
            return told == "true"
        # Where the setting decides the unit, the size of gravity tells it: 1 in g, 9.8 in m/s^2.
        for name, columns in (("AccelerometerUncalibrated", XYZ), ("WristMotion", _named("gravity"))):
            if name in self.sheets and (name != "AccelerometerUncalibrated" or self.platform == "ios"):
                size = _size(self.sheets[name], columns)
                if size is not None:
                    return size > 3.0
        return None

    def _sign(self) -> float | None:
        """Factor from accelerations of phone, watch and headphones to specific force; None if unknown."""
        if self.platform == "android":
            return 1.0
        standardised = self._standardised()
        if standardised:
            return 1.0
        if self.platform == "ios":
            # Standardising was added in version 1.29 and is off by default: an export that does not mention it is not.
            return -1.0
        size = (
            _size(self.sheets["AccelerometerUncalibrated"], XYZ) if "AccelerometerUncalibrated" in self.sheets else None
        )
        return None if size is None else (1.0 if size > 3.0 else -1.0)

    def _factor(self) -> float:
        if self.sign is None:
            raise RecordingError(
                f"{self.path}: it does not show whether an iPhone or an Android phone recorded it, and the signs of "
                "their accelerations differ",
                hint="declare it: reader: {name: sensor_logger, platform: android} (or ios), or keep Metadata.csv "
                "beside the other files",
            )
        return self.sign

    # ---------------------------------------------------------------------------------------------------- devices

    def reading(self) -> Reading:
        devices = [device for device in (self._phone(), self._watch(), self._headphones()) if device is not None]
        tags = {"app": "Sensor Logger"} | ({"platform": self.platform} if self.platform else {})
        for key, tag in (("device name", "phone"), ("appVersion", "app_version"), ("recording timezone", "time_zone")):
            if self.metadata.get(key):
                tags[tag] = self.metadata[key]
        end = max(float(track.times[-1]) for device in devices for track in device.tracks.values())
        return Reading(
            devices=tuple(devices),
            segments=self._segments(end) if self.options.annotations == "until_next" else (),
            tags=tags,
            notes=tuple(self.notes),
            start_utc=self.zero,
        )

    def _phone(self) -> DeviceReading | None:
        tracks: dict[str, Track] = {}
        gravity: bool | None = None
        acc, gravity = self._acceleration()
        if acc is not None:
            tracks["acc"] = acc
        for kind, unit, names in (
            ("gyr", "rad/s", ("Gyroscope", "GyroscopeUncalibrated")),
            ("mag", "uT", ("Magnetometer", "MagnetometerUncalibrated")),
        ):
            for name in names:
                if name in self.sheets and kind not in tracks:
                    tracks[kind] = self._track(name, XYZ, unit)
        if not {"acc", "gyr"} & set(tracks):
            return None
        return DeviceReading(name="phone", tracks=tracks, gravity=gravity)

    def _acceleration(self) -> tuple[Track | None, bool | None]:
        there = {
            "total": "TotalAcceleration" in self.sheets,
            "sum": {"Gravity", "Accelerometer"} <= set(self.sheets),
            "uncalibrated": "AccelerometerUncalibrated" in self.sheets,
            "linear": "Accelerometer" in self.sheets,
        }
        wanted = self.options.acceleration
        if wanted == "auto":
            wanted = next((kind for kind in _PREFERRED if there[kind]), "auto")
        elif not there[wanted]:
            raise ConfigError(
                f"{self.path}: has no acceleration {wanted!r}; it has: {', '.join(k for k, v in there.items() if v)}",
                hint="remove `acceleration` from the reader's entry, or name one that it has",
            )
        if wanted == "total":
            return self._track("TotalAcceleration", XYZ, "m/s^2", self._factor()), True
        if wanted == "sum":
            return self._sum("Accelerometer", "Gravity"), True
        if wanted == "uncalibrated":
            size = _size(self.sheets["AccelerometerUncalibrated"], XYZ)
            unit = "g" if size is not None and size <= 3.0 else "m/s^2"
            return self._track("AccelerometerUncalibrated", XYZ, unit, self._factor()), True
        if wanted == "linear":
            self.notes.append("phone: only acceleration without gravity was recorded")
            return self._track("Accelerometer", XYZ, "m/s^2", self._factor()), False
        return None, None

    def _sum(self, linear: str, gravity: str) -> Track:
        moved = self._track(linear, XYZ, "m/s^2", self._factor())
        still = self._track(gravity, XYZ, "m/s^2", self._factor())
        if np.array_equal(moved.times, still.times):
            return Track(times=moved.times, values=moved.values + still.values, unit="m/s^2")
        after = np.clip(np.searchsorted(still.times, moved.times), 1, len(still.times) - 1)
        gap = still.times[after] - still.times[after - 1]
        outside = (moved.times < still.times[0] - 1e-9) | (moved.times > still.times[-1] + 1e-9)
        near = np.minimum(np.abs(moved.times - still.times[0]), np.abs(moved.times - still.times[-1]))
        unknown = ((gap > _LONGEST_BRIDGE_S) & ~outside) | (outside & (near > _LONGEST_BRIDGE_S))
        added = np.stack([np.interp(moved.times, still.times, row) for row in still.values])
        added[:, unknown] = np.nan
        return Track(times=moved.times, values=moved.values + added, unit="m/s^2")

    def _watch(self) -> DeviceReading | None:
        return self._motion_device("watch", "WristMotion", "WatchAccelerometerUncalibrated")

    def _headphones(self) -> DeviceReading | None:
        return self._motion_device("headphones", "Headphone", None)

    def _motion_device(self, name: str, fused: str, raw: str | None) -> DeviceReading | None:
        """A device whose fused motion stands in one sheet: acceleration, gravity and rotation rate."""
        tracks: dict[str, Track] = {}
        if fused in self.sheets:
            sheet = self.sheets[fused]
            size = _size(sheet, _named("gravity"))
            if size is not None and set(_named("acceleration")) <= set(sheet.columns):
                # Each of the two is in g or in m/s^2: gravity by its size, the acceleration by the app's setting, which
                # for the watch also decides gravity's unit.
                standardised = self._standardised() if name == "headphones" else size > 3.0
                if standardised is None:
                    standardised = self.platform == "android"
                sign = 1.0 if standardised or self.platform == "android" else -1.0
                still = self._track(fused, _named("gravity"), "m/s^2", sign * (1.0 if size > 3.0 else GRAVITY))
                moved = self._track(fused, _named("acceleration"), "m/s^2", sign * (1.0 if standardised else GRAVITY))
                tracks["acc"] = Track(times=moved.times, values=moved.values + still.values, unit="m/s^2")
            if set(_named("rotationRate")) <= set(sheet.columns):
                tracks["gyr"] = self._track(fused, _named("rotationRate"), "rad/s")
        if "acc" not in tracks and raw in self.sheets and raw is not None:
            size = _size(self.sheets[raw], XYZ)
            in_g = size is not None and size <= 3.0
            tracks["acc"] = self._track(raw, XYZ, "g" if in_g else "m/s^2", -1.0 if in_g else 1.0)
        return DeviceReading(name=name, tracks=tracks, gravity=True if "acc" in tracks else None) if tracks else None

    def _track(self, name: str, columns: Sequence[str], unit: str, factor: float = 1.0) -> Track:
        sheet = self.sheets[name]
        for column in ("time", *columns):
            if column not in sheet.columns:
                raise RecordingError(
                    f"{sheet.where}: no column {column!r}, expected time, {', '.join(columns)}",
                    hint="export the recording again",
                )
        values = np.stack([sheet.columns[column] for column in columns]) * factor
        track = Track(times=sheet.columns["time"] / 1e9 - self.zero, values=values, unit=unit)
        return ordered(track, where=sheet.where, notes=self.notes)

    def _segments(self, end: float) -> tuple[Segment, ...]:
        sheet = self.sheets.get("Annotation")
        if sheet is None or "time" not in sheet.columns or "text" not in sheet.texts:
            return ()
        times = sheet.columns["time"] / 1e9 - self.zero
        order = np.argsort(times, kind="stable")
        stops = [*times[order][1:], max(end, float(times[order][-1]))] if len(order) else []
        segments = []
        for row, stop in zip(order, stops, strict=True):
            text = sheet.texts["text"][int(row)].strip()
            if text and times[row] < stop:
                segments.append(Segment(start=float(times[row]), end=float(stop), label=text))
        if len(order):
            self.notes.append(f"{len(order)} annotations: each labels the time to the next one")
        return tuple(segments)


def _named(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{axis}" for axis in "XYZ")


def _size(sheet: Sheet, columns: Sequence[str]) -> float | None:
    """Median norm of three columns, or None without them."""
    if not set(columns) <= set(sheet.columns):
        return None
    norm = np.sqrt(sum(sheet.columns[column] ** 2 for column in columns))
    norm = norm[np.isfinite(norm)]
    return float(np.median(norm)) if len(norm) else None


def _metadata(sheet: Sheet | None) -> dict[str, str]:
    return {key: values[0].strip() for key, values in sheet.texts.items() if values} if sheet else {}
