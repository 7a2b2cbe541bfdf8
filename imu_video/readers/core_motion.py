"""CSV files with the quantities of Apple's Core Motion: the app SensorLog on iPhone and Apple Watch, and others.

Core Motion gives accelerations in g with the sign opposite to a specific force: a device flat on a table reads -1 on
its z axis. `userAcceleration` has gravity removed; `userAcceleration + gravity` and the raw accelerometer have it.
https://developer.apple.com/documentation/coremotion
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import Members, head
from imu_video.readers.sheets import Sheet, decoded, ordered
from imu_video.readers.tables import iso_seconds
from imu_video.registry import readers
from imu_video.types import Segment

_QUANTITIES = {
    # quantity: the words that its columns end in, without the axis
    "raw": ("accelerometeracceleration",),
    "gyro": ("gyrorotation",),
    "user": ("useracceleration", "motionuseracceleration"),
    "gravity": ("gravity", "motiongravity"),
    "rotation": ("rotationrate", "motionrotationrate"),
    "mag": ("magnetometer", "magneticfield"),
}
_CLOCKS = {"raw": "accelerometer", "gyro": "gyro", "mag": "magnetometer"}
_SINCE_1970 = re.compile(r"timestamp|time|unixtime|epoch|loggingtime", re.IGNORECASE)


def _plain(name: str) -> str:
    """A column's name without unit, dots, underscores and case.

    Example:
        >>> _plain("motionUserAccelerationX(G)"), _plain("motion.rotationRate_x")
        ('motionuseraccelerationx', 'motionrotationratex')
    """
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)", "", name).lower())


def _quantities(names: tuple[str, ...]) -> dict[str, tuple[str, str, str]]:
    """Quantity -> its three columns, as far as the table has them."""
    plain = {_plain(name): name for name in names}
    found = {}
    for quantity, words in _QUANTITIES.items():
        for word in words:
            columns = [next((n for p, n in plain.items() if p == f"{word}{axis}"), "") for axis in "xyz"]
            if all(columns):
                found[quantity] = (columns[0], columns[1], columns[2])
    return found


@dataclass(kw_only=True)
class _Clock:
    times: np.ndarray
    start_utc: float | None


class _CoreMotion(Reader):
    """Common part of both readers: columns by quantity, sign and unit of Core Motion, one device."""

    formats = (".csv", ".txt")
    gravity = "included (raw accelerometer, or userAcceleration + gravity), else removed"

    def __init__(self, *, acceleration: Literal["auto", "raw", "sum", "user"] = "auto") -> None:
        self.acceleration = acceleration

    def _device(self, sheet: Sheet, path: Path, notes: list[str]) -> tuple[DeviceReading, float | None]:
        there = _quantities(sheet.names)
        kind = self._choose(there, path)
        tracks: dict[str, Track] = {}
        starts: list[float | None] = []
        for sensor, quantity in self._sensors(there, kind):
            clock = self._clock(sheet, quantity)
            values = sheet.numbers(there[quantity])
            unit = {"acc": "g", "gyr": "rad/s", "mag": "uT"}[sensor]
            if sensor == "acc":
                values = -(values + sheet.numbers(there["gravity"])) if kind == "sum" else -values
            elif sensor == "gyr" and any("deg" in name.lower() or "°" in name for name in there[quantity]):
                unit = "deg/s"
            rows = self._fresh(clock.times, values)
            track = Track(times=clock.times[rows], values=values[:, rows], unit=unit)
            tracks[sensor] = ordered(track, where=str(path), notes=notes)
            starts.append(clock.start_utc)
        gravity = None if kind is None else kind != "user"
        if kind == "user":
            notes.append("only acceleration without gravity was recorded")
        return DeviceReading(name=self._name(path), tracks=tracks, gravity=gravity), starts[0]

    def _choose(self, there: dict[str, tuple[str, str, str]], path: Path) -> str | None:
        ways = [
            k for k, need in (("raw", {"raw"}), ("sum", {"user", "gravity"}), ("user", {"user"})) if need <= set(there)
        ]
        if self.acceleration != "auto":
            if self.acceleration not in ways:
                raise ConfigError(
                    f"{path}: has no acceleration {self.acceleration!r}; it has: {', '.join(ways) or 'none'}",
                    hint="remove `acceleration` from the reader's entry",
                )
            return self.acceleration
        if not ways and not {"gyro", "rotation"} & set(there):
            raise RecordingError(
                f"{path}: no columns of Core Motion, expected for example userAccelerationX or gyroRotationX",
                hint="declare time, channels and units of the columns instead of a reader",
            )
        return ways[0] if ways else None

    @staticmethod
    def _sensors(there: dict[str, tuple[str, str, str]], kind: str | None) -> list[tuple[str, str]]:
        found = [] if kind is None else [("acc", "raw" if kind == "raw" else "user")]
        # The rotation rate of device motion has its bias removed and goes with the fused acceleration.
        order = ("gyro", "rotation") if kind == "raw" else ("rotation", "gyro")
        found += [("gyr", quantity) for quantity in order if quantity in there][:1]
        return found + ([("mag", "mag")] if "mag" in there else [])

    @staticmethod
    def _fresh(times: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Rows that are new: a row per log interval repeats a sensor that has not measured since, stamp included."""
        known = np.isfinite(times) & np.isfinite(values).any(axis=0)
        stamps = times[known]
        same = np.zeros(len(stamps), dtype=bool)
        same[1:] = (np.diff(stamps) == 0) & np.all(np.diff(values[:, known], axis=1) == 0, axis=0)
        return np.asarray(np.flatnonzero(known)[~same])

    def _clock(self, sheet: Sheet, quantity: str) -> _Clock:
        raise NotImplementedError

    def _name(self, path: Path) -> str:
        return "watch" if "watch" in path.name.lower() else "phone"


@readers.register("sensorlog")
class SensorLog(_CoreMotion):
    """The app SensorLog on iPhone and Apple Watch: CSV files.

    Args:
        acceleration: ``raw``: the accelerometer; ``sum``: user acceleration and gravity of device motion; ``user``:
            user acceleration alone, gravity removed. ``auto`` reads the first of these that the file has.
        labels: ``number``: the label number that was set in the app becomes the label where it is not 0; ``off``.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("sensorlog").formats
        ('.csv', '.txt')
    """

    name = "sensorlog"
    title = "SensorLog (Bernd Thomas), iPhone and Apple Watch"
    reads = "acceleration, gyroscope, magnetometer; label numbers"
    clock = "UTC from loggingTime, each sensor on its own stamps since reboot"
    url = "http://sensorlog.berndthomas.net"

    def __init__(
        self,
        *,
        acceleration: Literal["auto", "raw", "sum", "user"] = "auto",
        labels: Literal["number", "off"] = "number",
    ) -> None:
        super().__init__(acceleration=acceleration)
        self.labels = labels

    def recognises(self, path: Path) -> str | None:
        first = decoded(head(path, 8192)).split("\n", 1)[0]
        if "loggingTime(txt)" in first or "Timestamp_sinceReboot(s)" in first:
            return "columns loggingTime(txt) and ...Timestamp_sinceReboot(s)"
        return None

    def read(self, path: Path) -> Reading:
        sheet = Sheet(str(path), Members(path).read(path.name))
        if not any("loggingTime" in n or "Timestamp_since" in n for n in sheet.names):
            raise RecordingError(f"{path}: not a file of SensorLog, expected the column loggingTime(txt)")
        notes: list[str] = []
        device, start = self._device(sheet, path, notes)
        return Reading(
            devices=(device,),
            segments=self._segments(sheet),
            tags={"app": "SensorLog", "platform": "ios"},
            notes=tuple(notes),
            start_utc=start,
        )

    def _clock(self, sheet: Sheet, quantity: str) -> _Clock:
        wall = self._wall(sheet)
        column = next(
            (n for n in sheet.names if n.startswith(f"{_CLOCKS.get(quantity, 'motion')}Timestamp_since")), None
        )
        if column is None:
            if wall is None:
                raise RecordingError(f"{sheet.where}: no time of its {quantity}, expected loggingTime(txt)")
            return _Clock(times=wall - self._zero(sheet, wall), start_utc=self._zero(sheet, wall))
        stamps = sheet.numbers([column])[0]
        if "since1970" in column:
            zero = self._zero(sheet, stamps)
            return _Clock(times=stamps - zero, start_utc=zero)
        if wall is None:
            return _Clock(times=stamps - float(np.nanmin(stamps)), start_utc=None)
        # A row is logged some milliseconds after its samples: the smallest distance of the two clocks is the offset.
        offset = float(np.nanmin(wall - stamps))
        zero = self._zero(sheet, wall)
        return _Clock(times=stamps + (offset - zero), start_utc=zero)

    @staticmethod
    def _zero(sheet: Sheet, wall: np.ndarray) -> float:
        if not np.isfinite(wall).any():
            raise RecordingError(f"{sheet.where}: no row has a time")
        return float(np.nanmin(wall))

    @staticmethod
    def _wall(sheet: Sheet) -> np.ndarray | None:
        if "loggingTime(txt)" not in sheet.names:
            return None
        texts = sheet.texts("loggingTime(txt)")
        # "2017-06-23 15:42:42.144 +0200": ISO 8601 but for the blank before the zone.
        wall = iso_seconds([re.sub(r"\s+([+-]\d\d:?\d\d)$", r"\1", text) for text in texts])
        return wall if np.isfinite(wall).any() else None

    def _segments(self, sheet: Sheet) -> tuple[Segment, ...]:
        if self.labels == "off" or "label(N)" not in sheet.names:
            return ()
        wall = self._wall(sheet)
        if wall is None:
            return ()
        texts = [text.removesuffix(".0") for text in sheet.texts("label(N)")]
        zero, found, begin = self._zero(sheet, wall), [], 0
        for row in range(1, len(texts) + 1):
            if row == len(texts) or texts[row] != texts[begin]:
                end = wall[row] if row < len(texts) else wall[row - 1] + 1e-3
                if texts[begin] not in ("", "0") and wall[begin] < end:
                    found.append(Segment(start=float(wall[begin] - zero), end=float(end - zero), label=texts[begin]))
                begin = row
        return tuple(found)


@readers.register("core_motion")
class CoreMotion(_CoreMotion):
    """CSV files with the quantities of Apple's Core Motion under their own names, as Apple Watch apps write them.

    Args:
        acceleration: ``sum``: user acceleration and gravity; ``user``: user acceleration alone, gravity removed;
            ``raw``: columns called accelerometerAcceleration. ``auto`` reads the first of raw, sum, user.
        time: column of the times; None takes the only one whose name holds ``time`` or ``epoch``.
        unit: unit of the times; ``auto`` finds it from the values: seconds since 1970 or from zero, ms, us or ns.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build({"name": "core_motion", "time": "timestamp"}).unit
        'auto'
    """

    name = "core_motion"
    title = "Apple Watch and iPhone apps that write Core Motion's quantities"
    reads = "userAcceleration, gravity, rotationRate (units of Core Motion: g, rad/s)"
    clock = "the declared or only time column; UTC if it counts from 1970"
    url = "https://developer.apple.com/documentation/coremotion"

    def __init__(
        self,
        *,
        acceleration: Literal["auto", "raw", "sum", "user"] = "auto",
        time: str | None = None,
        unit: Literal["auto", "s", "ms", "us", "ns", "iso8601"] = "auto",
    ) -> None:
        super().__init__(acceleration=acceleration)
        self.time, self.unit = time, unit

    def recognises(self, path: Path) -> str | None:
        if path.suffix.lower() not in self.formats:
            return None
        first = decoded(head(path, 8192)).split("\n", 1)[0]
        if "_since" in first or "seconds_elapsed" in first or not first.strip():
            return None  # SensorLog and Sensor Logger have readers of their own
        try:
            there = _quantities(Sheet(str(path), first.encode()).names)
        except RecordingError:
            return None
        if "rotation" not in there or not {"user", "gravity"} & set(there):
            return None
        return f"columns {there['rotation'][0]} and {there['user' if 'user' in there else 'gravity'][0]}"

    def read(self, path: Path) -> Reading:
        sheet = Sheet(str(path), Members(path).read(path.name))
        notes: list[str] = []
        device, start = self._device(sheet, path, notes)
        return Reading(devices=(device,), tags={"platform": "ios"}, notes=tuple(notes), start_utc=start)

    def _clock(self, sheet: Sheet, quantity: str) -> _Clock:
        column = self.time
        if column is None:
            likely = [n for n in sheet.names if _SINCE_1970.search(n)]
            if len(likely) != 1:
                raise ConfigError(
                    f"{sheet.where}: {'no column looks' if not likely else f'the columns {likely} look'} like the time",
                    hint="name it: reader: {name: core_motion, time: COLUMN}",
                )
            column = likely[0]
        unit = self.unit
        texts = sheet.texts(column) if unit in ("auto", "iso8601") else []
        if unit == "iso8601" or any(re.match(r"\d{4}-\d\d-\d\d", text) for text in texts[:5]):
            times = iso_seconds(texts)
        else:
            numbers = sheet.numbers([column])[0]
            times = numbers / (_per_second(numbers, sheet.where) if unit == "auto" else _PER_SECOND[unit])
        if not np.isfinite(times).any():
            raise RecordingError(f"{sheet.where}: no time in the column {column!r}")
        absolute = float(np.nanmedian(times)) > 1e8
        zero = float(np.nanmin(times)) if absolute else 0.0
        return _Clock(times=times - zero, start_utc=zero if absolute else None)


_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_RATES_HZ = (5.0, 1000.0)  # of Core Motion: 10 to 800 samples per second


def _per_second(numbers: np.ndarray, where: str) -> float:
    """Units per second of a time column, from its steps: exactly one unit gives a rate that Core Motion has."""
    known = numbers[np.isfinite(numbers)]
    steps = np.diff(known)
    steps = steps[steps > 0]
    if not len(steps):
        raise RecordingError(f"{where}: its times never increase")
    step = float(np.median(steps))
    fits = [unit for unit, per in _PER_SECOND.items() if _RATES_HZ[0] <= per / step <= _RATES_HZ[1]]
    if len(fits) != 1:
        raise ConfigError(
            f"{where}: the median step of its times is {step:.6g}, which fits {' and '.join(fits) or 'no unit'}",
            hint="declare it: reader: {name: core_motion, unit: s} (or ms, us, ns)",
        )
    return _PER_SECOND[fits[0]]
