"""CSV files of the app Physics Toolbox Sensor Suite (Vieyra Software): g-force, acceleration, gyroscope, magnetometer.

Columns: `gFx gFy gFz` (acceleration with gravity in g), `ax ay az` (without gravity, m/s^2), `wx wy wz` (rad/s),
`Bx By Bz` (uT). Times are seconds since the start, or times of the day, after a setting of the app.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import Members, head
from imu_video.readers.sheets import Sheet, decoded, ordered
from imu_video.registry import readers

_SENSORS = {
    "gF": ("acc", "g", True),
    "a": ("acc", "m/s^2", False),
    "w": ("gyr", "rad/s", None),
    "B": ("mag", "uT", None),
}
_DAY_S = 86_400.0
_OF_DAY = re.compile(r"(\d{1,2}):(\d\d):(\d\d)(?:[:.,](\d{1,6}))?")


def _columns(names: tuple[str, ...]) -> dict[str, tuple[str, str, str]]:
    found = {}
    for prefix in _SENSORS:
        columns = [next((n for n in names if n.split(" ")[0] == f"{prefix}{axis}"), "") for axis in "xyz"]
        if all(columns):
            found[prefix] = (columns[0], columns[1], columns[2])
    return found


@readers.register("physics_toolbox")
class PhysicsToolbox(Reader):
    """The app Physics Toolbox Sensor Suite: CSV files in every delimiter and decimal mark.

    Args:
        acceleration: ``g_force``: with gravity; ``linear``: gravity removed. ``auto`` prefers the one with gravity.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("physics_toolbox").formats
        ('.csv', '.txt')
    """

    name = "physics_toolbox"
    title = "Physics Toolbox Sensor Suite (Vieyra Software); signs of the Android app"
    formats = (".csv", ".txt")
    reads = "g-force, linear acceleration, gyroscope, magnetometer"
    gravity = "included in gFx gFy gFz, removed in ax ay az"
    clock = "seconds from the start, or of the day: no date, so never UTC"
    url = "https://www.vieyrasoftware.net"

    def __init__(self, *, acceleration: Literal["auto", "g_force", "linear"] = "auto") -> None:
        self.acceleration = acceleration

    def recognises(self, path: Path) -> str | None:
        if path.suffix.lower() not in self.formats:
            return None
        first = decoded(head(path, 2048)).split("\n", 1)[0]
        try:
            sheet = Sheet(str(path), first.encode())
        except RecordingError:
            return None
        # `time,ax,ay,az` alone is a common header of other files too.
        telling = [c for c in ("gFx", "TgF", "aT", "wx") if c in sheet.names]
        if sheet.names[0].lower() != "time" or not telling or not _columns(sheet.names):
            return None
        return f"columns time and {telling[0]}"

    def read(self, path: Path) -> Reading:
        sheet = Sheet(str(path), Members(path).read(path.name))
        there = _columns(sheet.names)
        time = next((n for n in sheet.names if n.lower().split(" ")[0] == "time"), None)
        if time is None or not {"gF", "a", "w"} & set(there):
            raise RecordingError(
                f"{path}: not a file of Physics Toolbox, expected columns time and gFx gFy gFz, ax ay az or wx wy wz"
            )
        acc: str | None = next((k for k in ("gF", "a") if k in there), None)
        if self.acceleration != "auto":
            acc = {"g_force": "gF", "linear": "a"}[self.acceleration]
            if acc not in there:
                raise ConfigError(f"{path}: has no columns {acc}x {acc}y {acc}z", hint="remove `acceleration`")
        notes: list[str] = []
        times = _seconds(sheet, time)
        tracks: dict[str, Track] = {}
        for prefix in (acc, "w", "B"):
            if prefix is not None and prefix in there:
                kind, unit, _ = _SENSORS[prefix]
                values = sheet.numbers(there[prefix])
                known = np.isfinite(values).any(axis=0)  # several sensors in one file leave fields empty
                track = Track(times=times[known], values=values[:, known], unit=unit)
                tracks[kind] = ordered(track, where=str(path), notes=notes)
        if acc == "a":
            notes.append("only acceleration without gravity was recorded")
        gravity = None if acc is None else acc == "gF"
        device = DeviceReading(name="phone", tracks=tracks, gravity=gravity)
        return Reading(devices=(device,), tags={"app": "Physics Toolbox"}, notes=tuple(notes))


def _seconds(sheet: Sheet, column: str) -> np.ndarray:
    """Times in seconds; times of the day continue over midnight."""
    texts = sheet.texts(column)
    if not any(_OF_DAY.match(text) for text in texts[:5]):
        return np.asarray(sheet.numbers([column])[0])
    out = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        match = _OF_DAY.match(text)
        if match is not None:
            hours, minutes, seconds = (int(match[i]) for i in (1, 2, 3))
            out[row] = hours * 3600 + minutes * 60 + seconds + float(f"0.{match[4] or 0}")
            if "pm" in text.lower() and hours < 12:
                out[row] += _DAY_S / 2
            elif "am" in text.lower() and hours == 12:
                out[row] -= _DAY_S / 2
        elif text:
            raise RecordingError(f"{sheet.where}, row {row + 1}: time {text!r}, expected hh:mm:ss:ms")
    days = np.zeros(len(out))
    known = np.flatnonzero(np.isfinite(out))
    days[known[1:]] = np.cumsum(np.diff(out[known]) < -_DAY_S / 2)
    return out + days * _DAY_S
