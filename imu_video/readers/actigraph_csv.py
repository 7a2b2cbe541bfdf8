"""CSV exports of raw samples by ActiLife and CentrePoint (ActiGraph); epoch counts are refused."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.files import check_zone, read_bytes, start_of, whole_lines
from imu_video.readers.members import head
from imu_video.readers.tables import Table
from imu_video.registry import readers

_MARK = re.compile(r"-+ ?Data (Table )?File Created By ActiGraph", re.IGNORECASE)
_HEADER_LINES = 10
_SENSORS = {"accelerometer": ("acc", "g"), "gyroscope": ("gyr", "deg/s"), "magnetometer": ("mag", "uT")}
_DATE_FIELDS = {"M": "%m", "MM": "%m", "d": "%d", "dd": "%d", "yyyy": "%Y", "yy": "%y"}


@readers.register("actigraph_csv")
class ActigraphCsv(Reader):
    """Raw data as CSV from ActiLife: with or without time stamps and column names, monitor or IMU of the Link.

    The decimal comma of European exports (fields separated by semicolons) is accepted.

    Args:
        timezone: where the device was set up (``Europe/Berlin``); the file has local times and no zone. None reads
            them as UTC.

    Example:
        >>> readers.build("actigraph_csv").formats
        ('.csv',)
    """

    name = "actigraph_csv"
    title = "ActiGraph, CSV of ActiLife or CentrePoint"
    formats = (".csv",)
    reads = "acceleration; angular rate and magnetic field of the Link's IMU"
    gravity = "included (raw acceleration)"
    clock = "first sample; local time of the file, read as UTC without `timezone`"
    url = "https://www.theactigraph.com"
    tested_on = "real files"

    def __init__(self, *, timezone: str | None = None) -> None:
        self.timezone = check_zone(timezone, reader=self.name)

    def read(self, path: Path) -> Reading:
        """All rows of the file."""
        content, notes = whole_lines(read_bytes(path))
        lines = content[:8192].decode("utf-8-sig", errors="replace").splitlines()
        if not lines or not _MARK.search(lines[0]):
            raise RecordingError(
                f"{path}, line 1: {lines[0][:60] if lines else ''!r}, expected 'Data File Created By ActiGraph'",
                hint="export the file with its header, or declare time, channels and units instead of a reader",
            )
        header = [line.rstrip(",;\t ") for line in lines[:_HEADER_LINES]]
        rate = re.search(r"\bat (\d+(?:\.\d+)?) Hz", header[0])
        if rate is None or not 1 <= float(rate[1]) <= 1000:
            epoch = next((line for line in header if line.startswith("Epoch Period")), "no sampling rate in line 1")
            raise RecordingError(
                f"{path}: contains activity counts per epoch ({epoch}), expected raw samples ('at 30 Hz' in line 1)",
                hint="export raw data (ActiLife: File, Export, RAW data to CSV), or use the .gt3x file",
            )
        if len(lines) <= _HEADER_LINES:
            raise RecordingError(f"{path}: no rows after the header of {_HEADER_LINES} lines")
        first = lines[_HEADER_LINES]
        delimiter = ";" if first.count(";") >= 2 else ","
        if delimiter == ";":  # then the comma is the decimal mark
            content = content.replace(b",", b".")
        named = not re.match(r'\s*"?[-+]?\d', first)
        names = [n.strip() for n in first.split(delimiter)] if named else None
        columns = names or _unnamed(first.split(delimiter), path)
        table = Table(
            path,
            columns,
            header=None if named else columns,
            delimiter=delimiter,
            skip_rows=_HEADER_LINES,
            content=content,
        )
        hertz = float(rate[1])
        times, zero = _times(table, columns, hertz, header, path)
        tracks = _tracks(table, columns, times, path)
        start, tags = (None, dict[str, str]()) if zero is None else start_of(zero, self.timezone)
        tags["rate_hz"] = f"{hertz:g}"
        for line in header:
            if line.startswith("Serial Number:"):
                tags["serial"] = line.partition(":")[2].strip()
        device = DeviceReading(name="imu" if "gyr" in tracks else "monitor", tracks=tracks, gravity=True)
        return Reading(devices=(device,), tags=tags, notes=notes, start_utc=start)

    def recognises(self, path: Path) -> str | None:
        """The first line of the header."""
        begin = head(path, 256).decode("utf-8", errors="replace")
        return (
            "line 1: Data File Created By ActiGraph" if _MARK.search(begin.splitlines()[0] if begin else "") else None
        )


def _unnamed(fields: list[str], path: Path) -> list[str]:
    axes = [f"Accelerometer {axis}" for axis in "XYZ"]
    if len(fields) == 3:
        return axes
    if len(fields) == 4:
        return ["Timestamp", *axes]
    raise RecordingError(
        f"{path}, line {_HEADER_LINES + 1}: {len(fields)} fields without names, expected 3 or 4",
        hint="export with column headers",
    )


def _times(
    table: Table, columns: list[str], rate: float, header: list[str], path: Path
) -> tuple[np.ndarray, float | None]:
    """Seconds from the first sample, and the first sample as POSIX seconds of local time; None if it is not stated."""
    stamps = next((name for name in columns if name.lower() == "timestamp"), None)
    order = _date_format(header[0])
    if stamps is None:
        day = next((line[len("Start Date") :].strip() for line in header if line.startswith("Start Date")), "")
        clock = next((line[len("Start Time") :].strip() for line in header if line.startswith("Start Time")), "")
        return np.arange(len(table)) / rate, _moment(f"{day} {clock}", order)
    texts = table.texts(stamps)
    if re.match(r"\d{4}-\d\d-\d\d", texts[0]):
        seconds = table.increasing_seconds(stamps, "iso8601")
    else:
        moments = [_moment(text, order) for text in texts]
        wrong = next((i for i, m in enumerate(moments) if m is None), None)
        if wrong is not None:
            raise RecordingError(
                f"{table.where(wrong)}: time stamp {texts[wrong]!r} does not have the date format of line 1"
            )
        seconds = np.array(moments, dtype=np.float64)
        back = np.flatnonzero(np.diff(seconds) <= 0)
        if len(back):
            raise RecordingError(f"{table.where(int(back[0]) + 1)}: time stamp {texts[back[0] + 1]!r} is not later")
    return seconds - seconds[0], float(seconds[0])


def _date_format(line: str) -> str:
    """The date format of line 1 for strptime.

    Example:
        >>> _date_format("--- Data File Created By ActiGraph GT3X+ date format M/d/yyyy at 30 Hz ---")
        '%m/%d/%Y'
    """
    match = re.search(r"date format (\w+)([./-])(\w+)[./-](\w+)", line)
    parts = [_DATE_FIELDS.get(match[i], "") for i in (1, 3, 4)] if match else []
    return match[2].join(parts) if match and all(parts) else "%m/%d/%Y"


def _moment(text: str, order: str) -> float | None:
    """POSIX seconds of a date and time in that order as if it were UTC, None if it is not one."""
    for clock in ("%H:%M:%S.%f", "%H:%M:%S", "%I:%M:%S %p"):
        try:
            found = datetime.strptime(text.strip(), f"{order} {clock}")
        except ValueError:
            continue
        return timegm(found.timetuple()) + found.microsecond / 1e6
    return None


def _tracks(table: Table, columns: list[str], times: np.ndarray, path: Path) -> dict[str, Track]:
    lower = {name.lower(): name for name in columns}
    tracks = {}
    for sensor, (kind, unit) in _SENSORS.items():
        axes = [lower.get(f"{sensor} {axis}") for axis in "xyz"]
        present = [axis for axis in axes if axis is not None]
        if len(present) == 3:
            values = np.stack([table.numbers(axis) for axis in present])
            tracks[kind] = Track(times=times, values=values, unit=unit)
    if not tracks:
        raise RecordingError(
            f"{path}, line {_HEADER_LINES + 1}: columns {', '.join(columns)}; expected Accelerometer X, Y and Z",
            hint="export raw data with column headers",
        )
    return tracks
