"""CSV files of Shimmer sensors: Consensys (names and units in two lines), and older programs (four lines)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import Members, head
from imu_video.readers.sheets import Sheet, decoded, ordered
from imu_video.readers.tables import iso_seconds
from imu_video.registry import readers

_COLUMN = re.compile(
    r"(?:(?P<device>.+?)_)?(?P<signal>Accel_LN|Accel_WR|Gyro|Mag|TimestampSync_Unix|Timestamp_Unix|"
    r"TimestampSync_FormattedUnix|Timestamp_FormattedUnix|TimestampSync|Timestamp|Time Stamp)"
    r"(?:_(?P<axis>[XYZ]))?_(?P<form>CAL|RAW|UNCAL)"
)
_CLOCKS = (
    "TimestampSync_Unix",
    "Timestamp_Unix",
    "TimestampSync_FormattedUnix",
    "Timestamp_FormattedUnix",
    "TimestampSync",
    "Timestamp",
    "Time Stamp",
)
_PER_SECOND = {"ms": 1e3, "mSecs": 1e3, "s": 1.0, "us": 1e6}
_UNITS = {
    "acc": {"m/(s^2)": "m/s^2", "m/(sec^2)": "m/s^2", "m/s^2": "m/s^2", "m/(s*s)": "m/s^2", "g": "g"},
    "gyr": {"deg/s": "deg/s", "deg/sec": "deg/s", "rad/s": "rad/s"},
}


def _skip(text: str) -> tuple[int, bool] | None:
    """Lines before the names, and whether it is the older header of four lines; None if it is no file of Shimmer."""
    lines = text.split("\n", 8)
    skip = 1 if lines and re.match(r'"?sep=', lines[0]) else 0
    if len(lines) <= skip + 2:
        return None
    names = lines[skip]
    if re.search(r"(Accel_LN|Accel_WR|Gyro)_[XYZ]_(CAL|RAW)|Timestamp\w*_(CAL|RAW)", names):
        return skip, False
    if len(lines) > skip + 4 and re.search(r"\b(CAL|RAW)\b", lines[skip + 2]) and "Shimmer" in names:
        return skip, True
    return None


@readers.register("shimmer")
class Shimmer(Reader):
    """Shimmer3 sensors: CSV files of Consensys and of older programs.

    Args:
        accelerometer: ``low_noise`` (range 2 g) or ``wide_range`` (up to 16 g). ``auto`` reads the low-noise one, or
            the other where it is missing.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("shimmer").formats
        ('.csv', '.txt', '.dat')
    """

    name = "shimmer"
    title = "Shimmer3 (Consensys)"
    formats = (".csv", ".txt", ".dat")
    reads = "calibrated accelerometer (low-noise or wide-range), gyroscope, magnetometer; one device per sensor"
    gravity = "included"
    clock = "UTC from Timestamp_Unix, the synchronised one where there is one"
    url = "https://shimmersensing.com/support/wireless-sensor-networks-documentation"

    def __init__(self, *, accelerometer: Literal["auto", "low_noise", "wide_range"] = "auto") -> None:
        self.accelerometer = accelerometer

    def recognises(self, path: Path) -> str | None:
        if path.suffix.lower() not in self.formats:
            return None
        text = decoded(head(path, 16_384))
        found = _skip(text)
        if found is None:
            return None
        return f"names of Shimmer's signals in line {found[0] + 1}, units below"

    def read(self, path: Path) -> Reading:
        content = Members(path).read(path.name)
        found = _skip(decoded(content[:65_536]))
        if found is None:
            raise RecordingError(
                f"{path}: not a file of Shimmer, expected column names such as Shimmer_8665_Accel_LN_X_CAL",
                hint="export the recording from Consensys as CSV, calibrated, with units",
            )
        sheet = (
            _four_lines(path, content, found[0]) if found[1] else Sheet(str(path), content, skip=found[0], units=True)
        )
        columns: dict[str, dict[tuple[str, str], str]] = {}
        raw = False
        for name in sheet.names:
            match = _COLUMN.fullmatch(name)
            if match and match["form"] == "CAL":
                key = (match["signal"], match["axis"] or "")
                columns.setdefault(match["device"] or "Shimmer", {})[key] = name
            raw = raw or bool(match and match["axis"])
        notes: list[str] = []
        parts = [
            (name, *self._device(sheet, name, found, notes)) for name, found in columns.items() if _measures(found)
        ]
        if not parts:
            raise RecordingError(
                f"{path}: no calibrated accelerometer or gyroscope" + (", only raw counts" if raw else ""),
                hint="export from Consensys with calibrated data",
            )
        known = [float(track.times[0]) for _, tracks, absolute in parts for track in tracks.values() if absolute]
        zero = min(known) if known else 0.0
        devices = tuple(
            DeviceReading(
                name=name.lower(),
                tracks={
                    kind: Track(times=t.times - (zero if absolute else 0.0), values=t.values, unit=t.unit)
                    for kind, t in tracks.items()
                },
                gravity=True if "acc" in tracks else None,
            )
            for name, tracks, absolute in parts
        )
        return Reading(
            devices=devices, tags={"app": "Consensys"}, notes=tuple(notes), start_utc=zero if known else None
        )

    def _device(
        self, sheet: Sheet, device: str, columns: dict[tuple[str, str], str], notes: list[str]
    ) -> tuple[dict[str, Track], bool]:
        times, absolute = _times(sheet, device, columns)
        signals = {"low_noise": ("Accel_LN",), "wide_range": ("Accel_WR",)}.get(
            self.accelerometer, ("Accel_LN", "Accel_WR")
        )
        acc = next((s for s in signals if (s, "X") in columns), None)
        if acc is None and self.accelerometer != "auto":
            raise ConfigError(
                f"{sheet.where}: {device} has no {self.accelerometer.replace('_', '-')} accelerometer",
                hint="remove `accelerometer` from the reader's entry",
            )
        tracks = {}
        for kind, signal in (("acc", acc), ("gyr", "Gyro"), ("mag", "Mag")):
            names = [columns.get((str(signal), axis), "") for axis in "XYZ"]
            if signal is None or not all(names):
                continue
            if kind == "mag":
                continue  # in local flux units, which depend on the place
            unit = _UNITS[kind].get(sheet.units.get(names[0], ""))
            if unit is None:
                raise RecordingError(
                    f"{sheet.where}: unit of {names[0]} is {sheet.units.get(names[0], '')!r}, "
                    f"expected one of {', '.join(_UNITS[kind])}",
                    hint="export from Consensys with calibrated data and units",
                )
            track = Track(times=times, values=sheet.numbers(names), unit=unit)
            tracks[kind] = ordered(track, where=sheet.where, notes=notes)
        return tracks, absolute


def _measures(columns: dict[tuple[str, str], str]) -> bool:
    return any((signal, "X") in columns for signal in ("Accel_LN", "Accel_WR", "Gyro"))


def _times(sheet: Sheet, device: str, columns: dict[tuple[str, str], str]) -> tuple[np.ndarray, bool]:
    """Times in seconds, and whether they are POSIX seconds."""
    name = next((columns[clock, ""] for clock in _CLOCKS if (clock, "") in columns), None)
    if name is None:
        raise RecordingError(f"{sheet.where}: {device} has no calibrated time stamp", hint="export it from Consensys")
    if "FormattedUnix" in name:
        times = iso_seconds([re.sub(r"^(\d{4})/(\d\d)/(\d\d) ", r"\1-\2-\3 ", text) for text in sheet.texts(name)])
        if not np.isfinite(times).any():
            raise RecordingError(f"{sheet.where}: {name} contains no time such as 2024/05/06 12:53:20.250")
        return times, True
    unit = sheet.units.get(name, "")
    if unit not in _PER_SECOND:
        raise RecordingError(f"{sheet.where}: unit of {name} is {unit!r}, expected one of {', '.join(_PER_SECOND)}")
    times = sheet.numbers([name])[0] / _PER_SECOND[unit]
    return times, "Unix" in name


def _four_lines(path: Path, content: bytes, skip: int) -> Sheet:
    """A file with device, signal, form and unit in four lines, as a sheet with Consensys names and a line of units."""
    lines = decoded(content).split("\n")
    delimiter = max("\t,;", key=lines[skip].count)
    device, signal, form, unit = (
        [c.strip().strip('"') for c in line.split(delimiter)] for line in lines[skip : skip + 4]
    )
    if not len(device) == len(signal) == len(form) == len(unit):
        raise RecordingError(f"{path}, line {skip + 1}: the four lines of the header have different numbers of fields")
    short = {"Low Noise Accelerometer": "Accel_LN", "Wide Range Accelerometer": "Accel_WR", "Gyroscope": "Gyro"}
    names = []
    for d, s, f in zip(device, signal, form, strict=True):
        for long, word in short.items():
            s = re.sub(rf"^{long}[ _]", f"{word}_", s)
        names.append(
            "_".join(word for word in (re.sub(r"\s+", "_", d), s.replace("Time Stamp", "Timestamp"), f) if word)
        )
    head_lines = [delimiter.join(names), delimiter.join(unit)]
    # The lines that are gone are put back empty in front, so that messages name the line of the file.
    return Sheet(
        str(path), "\n".join([*[""] * (skip + 2), *head_lines, *lines[skip + 4 :]]).encode(), skip=skip + 2, units=True
    )
