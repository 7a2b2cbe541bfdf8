"""Text exports of Xsens and Movella sensors: DOT (CSV) and MTw or MTi (MT Manager, tab or comma separated).

Both number their packets and may carry `SampleTimeFine`: microseconds on a DOT, ticks of 0.1 ms on MTw and MTi, each
in 32 bits. MTw packet counters have 16 bits. DOT angular rate is in deg/s, that of MTw and MTi in rad/s.
`FreeAcc` is acceleration without gravity in the frame of the earth, not of the sensor: it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import Members, head
from imu_video.readers.sheets import Sheet, decoded, ordered
from imu_video.registry import readers

_HEADER_LINES = 40  # the header of an export has about ten
_COUNTER_BITS = (8, 16, 32)
_UTC = ("UTC_Year", "UTC_Month", "UTC_Day", "UTC_Hour", "UTC_Minute", "UTC_Second", "UTC_Nano")
Rate = Annotated[float, Field(gt=0, le=10_000)]


def _header(text: str) -> tuple[int, list[str]] | None:
    """Lines before the line with the names of the columns, and those lines; None if there is no such line."""
    lines = text.split("\n", _HEADER_LINES)[:_HEADER_LINES]
    for number, line in enumerate(lines):
        if re.match(r"\W*PacketCounter\b", line) or (re.match(r"\W*SampleTimeFine\b", line)):
            return number, lines[:number]
    return None


def _fact(lines: Sequence[str], pattern: str) -> str | None:
    """What follows a name in the header: ``// Update Rate: 100.0Hz``, ``OutputRate:,60``."""
    for line in lines:
        match = re.search(rf"{pattern}\s*:?\s*[,;\t ]*\s*([^,;\t]+)", line, re.IGNORECASE)
        if match:
            return match[1].strip()
    return None


def unwrapped(counter: np.ndarray, bits: Sequence[int] = _COUNTER_BITS) -> tuple[np.ndarray, int]:
    """A counter that continues over its wrap-arounds, and how many there were.

    Args:
        counter: (T,) values as written, NaN where missing.
        bits: possible widths of the counter; a step backwards by almost 2**bits is a wrap-around.

    Example:
        >>> unwrapped(np.array([65534.0, 65535.0, 0.0, 1.0]))[0].tolist()
        [65534.0, 65535.0, 65536.0, 65537.0]
    """
    out = counter.astype(np.float64).copy()
    known = np.flatnonzero(np.isfinite(out))
    steps = np.diff(out[known])
    wraps = 0
    for width in bits:
        full = 2.0**width
        back = (steps < -0.75 * full) & (steps > -full)
        if back.any() and np.nanmax(out) < full:
            out[known[1:]] += full * np.cumsum(back)
            wraps += int(back.sum())
            break
    return out, wraps


class _Xsens(Reader):
    """Common part of DOT and MTw exports: header, packet counter, columns."""

    formats = (".csv", ".txt")
    reads = "Acc or dv, Gyr or dq, Mag; lost packets are gaps"
    gravity = "included in Acc and dv; FreeAcc is refused"
    url = "https://www.movella.com/support/software-documentation"
    gyr_unit: ClassVar[Literal["deg/s", "rad/s"]]

    def __init__(self, *, rate_hz: Rate | None = None) -> None:
        self.rate_hz = rate_hz

    def read(self, path: Path) -> Reading:
        content = Members(path).read(path.name)
        found = _header(decoded(content))
        if found is None:
            raise RecordingError(
                f"{path}: no line of names that begins with PacketCounter, expected an export of Xsens or Movella",
                hint="export the recording as CSV or TXT with the packet counter",
            )
        skip, lines = found
        sheet = Sheet(str(path), content, skip=skip)
        notes: list[str] = []
        times, start, rate = self._clock(sheet, lines, notes)
        tracks: dict[str, Track] = {}
        acc, gyr = self._motion(sheet, rate)
        for kind, values, unit in (("acc", acc, "m/s^2"), ("gyr", gyr, self.gyr_unit)):
            if values is not None:
                unit = "rad/s" if kind == "gyr" and self._increments(sheet) else unit
                track = Track(times=times, values=values, unit=unit)
                tracks[kind] = ordered(track, where=str(path), notes=notes)
        if not tracks:
            free = any(name.startswith("FreeAcc") for name in sheet.names)
            raise RecordingError(
                f"{path}: no columns Acc_X or Gyr_X in the frame of the sensor"
                + (", only FreeAcc, which is in an earth-fixed frame" if free else ""),
                hint="export or record inertial data: acceleration and angular velocity",
            )
        tag = _fact(lines, r"Device\s?Tag") or _fact(lines, r"Device\s?Id") or ""
        return Reading(
            devices=(
                DeviceReading(
                    name="sensor",
                    tracks=tracks,
                    gravity=True if "acc" in tracks else None,
                    tags={"sensor": tag} if tag else {},
                ),
            ),
            tags={"app": self.title.split(" (")[0]},
            notes=tuple(notes),
            start_utc=start,
        )

    @staticmethod
    def _increments(sheet: Sheet) -> bool:
        return "Gyr_X" not in sheet.names

    def _motion(self, sheet: Sheet, rate: float) -> tuple[np.ndarray | None, np.ndarray | None]:
        acc = gyr = None
        names = {name.replace("dQ", "dq").replace("OriInc", "dq"): name for name in sheet.names}
        if {"Acc_X", "Acc_Y", "Acc_Z"} <= set(sheet.names):
            acc = sheet.numbers(["Acc_X", "Acc_Y", "Acc_Z"])
        elif velocity := _triple(sheet.names, (r"dv\[(\d)\]", r"VelInc_([XYZ])", r"dV_([XYZ])")):
            acc = sheet.numbers(velocity) * rate
        if {"Gyr_X", "Gyr_Y", "Gyr_Z"} <= set(sheet.names):
            gyr = sheet.numbers(["Gyr_X", "Gyr_Y", "Gyr_Z"])
        elif {"dq_W", "dq_X", "dq_Y", "dq_Z"} <= set(names):
            w, *xyz = sheet.numbers([names[f"dq_{axis}"] for axis in "WXYZ"])
            vector = np.stack(xyz)
            size = np.linalg.norm(vector, axis=0)
            turn = 2 * np.arctan2(size, np.abs(w)) * np.where(w < 0, -1.0, 1.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                gyr = np.where(size > 0, vector / size, 0.0) * turn * rate
        return acc, gyr

    def _clock(self, sheet: Sheet, lines: Sequence[str], notes: list[str]) -> tuple[np.ndarray, float | None, float]:
        """Times in seconds, POSIX seconds of time 0 if the file contains them, and the rate."""
        told = _fact(lines, r"(?:Update ?Rate|Output ?Rate|Acquisition frequency|Sample ?Rate)")
        number = re.search(r"\d+(?:\.\d+)?", told or "")
        rate = self.rate_hz or (float(number[0]) if number and float(number[0]) > 0 else None)
        # Read together, since MT Manager leaves SampleTimeFine empty for some devices.
        names = [name for name in ("PacketCounter", "SampleTimeFine") if name in sheet.names]
        stamps = dict(zip(names, sheet.numbers(names), strict=True))
        counter = stamps.get("PacketCounter")
        fine = self._fine(stamps.get("SampleTimeFine"), counter)
        if counter is not None and np.count_nonzero(np.isfinite(counter)) > 1:
            counter, wraps = unwrapped(counter)
            steps = np.diff(counter[np.isfinite(counter)])
            lost = int(np.sum(np.maximum(steps - 1, 0)))
            if wraps:
                notes.append(f"packet counter wrapped around {wraps} times")
            if lost:
                notes.append(f"{lost} of {len(steps) + 1 + lost} packets lost: gaps")
        else:
            counter = None
        if fine is not None:
            step = float(np.median(np.diff(fine[np.isfinite(fine)])))
            times = fine - fine[np.isfinite(fine)][0]
        elif counter is not None and rate is not None:
            step, times = 1 / rate, (counter - counter[np.isfinite(counter)][0]) / rate
        else:
            raise ConfigError(
                f"{sheet.where}: has no SampleTimeFine, and no line of its header contains the rate",
                hint=f"declare it: reader: {{name: {self.name}, rate_hz: 100}}",
            )
        if rate is not None and not 0.8 <= step * rate <= 1.25:
            raise RecordingError(
                f"{sheet.where}: its times step by {step:.6g} s, but the rate is {rate:g} Hz",
                hint="correct rate_hz, or declare the reader of this device: xsens_dot or xsens_mtw",
            )
        return times, self._start_utc(sheet, times), rate or 1 / step

    @staticmethod
    def _fine(raw: np.ndarray | None, counter: np.ndarray | None) -> np.ndarray | None:
        """`SampleTimeFine` in seconds without wrap-arounds; None where packets lack it."""
        if raw is None:
            return None
        there = int(np.count_nonzero(np.isfinite(raw)))
        packets = there if counter is None else int(np.count_nonzero(np.isfinite(counter)))
        if there < max(2, 0.9 * packets):
            return None
        raw, _ = unwrapped(raw, (32,))
        step = float(np.median(np.diff(raw[np.isfinite(raw)])))
        if step <= 0:
            return None
        # Sensors measure at 2.5 to 2000 Hz: a step of 4000 or more can only be microseconds, a smaller one only ticks.
        return raw / (1e6 if step >= 4000 else 1e4)

    @staticmethod
    def _start_utc(sheet: Sheet, times: np.ndarray) -> float | None:
        if not set(_UTC) <= set(sheet.names):
            return None
        try:
            columns = sheet.numbers(_UTC)
        except RecordingError:  # the columns are there but empty: the sensor had no time
            return None
        valid = np.isfinite(columns).all(axis=0) & np.isfinite(times) & (columns[0] > 1980)
        if not valid.any():
            return None
        year, month, day, hour, minute, second, nano = (column[valid] for column in columns)
        if not 1 <= month[0] <= 12 or year[0] > 2200:
            return None
        first_day = np.datetime64(f"{int(year[0]):04d}-{int(month[0]):02d}-01", "s")
        midnight = float(first_day.astype(np.int64)) + (day[0] - 1) * 86_400
        first = midnight + hour[0] * 3600 + minute[0] * 60 + second[0] + nano[0] / 1e9
        return float(first - times[np.flatnonzero(valid)[0]])


def _triple(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Three columns that match one of the patterns, in the order of their axis; empty if there are none."""
    for pattern in patterns:
        found = sorted((m[1], n) for n in names if (m := re.fullmatch(pattern, n, re.IGNORECASE)))
        if len(found) == 3:
            return [name for _, name in found]
    return []


@readers.register("xsens_dot")
class XsensDot(_Xsens):
    """Movella (Xsens) DOT: CSV files of the app and the DOT Data Exporter.

    Args:
        rate_hz: samples per second, in (0, 10000], for files that do not contain it.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("xsens_dot").gyr_unit
        'deg/s'
    """

    name = "xsens_dot"
    title = "Movella (Xsens) DOT"
    clock = "SampleTimeFine (us), else packet counter and rate; wrap-arounds undone"
    gyr_unit = "deg/s"

    def recognises(self, path: Path) -> str | None:
        return _recognised(path, dot=True) if path.suffix.lower() in self.formats else None


@readers.register("xsens_mtw")
class XsensMtw(_Xsens):
    """Xsens MTw Awinda and MTi: text files of MT Manager.

    Args:
        rate_hz: samples per second, in (0, 10000], for files that do not contain it.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("xsens_mtw").gyr_unit
        'rad/s'
    """

    name = "xsens_mtw"
    title = "Xsens MTw and MTi (MT Manager)"
    clock = "SampleTimeFine (0.1 ms), else packet counter and rate; wrap-arounds undone; UTC columns"
    tested_on = "real files (two sensors of a gait trial)"
    gyr_unit = "rad/s"

    def recognises(self, path: Path) -> str | None:
        return _recognised(path, dot=False) if path.suffix.lower() in self.formats else None


def _recognised(path: Path, *, dot: bool) -> str | None:
    """Evidence for one of the two: the words of the header, or the unit of SampleTimeFine."""
    text = decoded(head(path, 16_384))
    found = _header(text)
    if found is None or text.count("\n") < found[0] + 3:
        return None
    skip, lines = found
    words = " ".join(lines)
    if re.search(r"DeviceTag|Measurement ?Mode|Xsens DOT|Movella DOT", words):
        return "header of a DOT and a column PacketCounter" if dot else None
    if re.search(r"^//|Acquisition frequency|MTw|MT Manager", words):
        return "header of MT Manager and a column PacketCounter" if not dot else None
    try:
        rows = "\n".join(text.split("\n")[: skip + 8])
        fine = Sheet(str(path), rows.encode(), skip=skip).numbers(["SampleTimeFine"])[0]
    except RecordingError:
        fine = np.full(1, np.nan)
    steps = np.diff(fine[np.isfinite(fine)])
    micro = bool(len(steps)) and float(np.median(steps)) >= 4000
    if micro == dot:
        unit = "in microseconds" if micro else "missing or in ticks of 0.1 ms"
        return f"column PacketCounter, SampleTimeFine {unit}"
    return None
