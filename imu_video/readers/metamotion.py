"""CSV files of MetaMotion sensors (MbientLab): accelerometer and gyroscope in separate files that form one device."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.members import Members, head, names_in
from imu_video.readers.sheets import Sheet, decoded, ordered
from imu_video.registry import readers

_SENSORS = {
    "Accelerometer": ("acc", {"g": "g", "m/s^2": "m/s^2"}),
    "Linear Acceleration": ("linear", {"g": "g", "m/s^2": "m/s^2"}),
    "Gyroscope": ("gyr", {"deg/s": "deg/s", "rad/s": "rad/s"}),
    "Magnetometer": ("mag", {"T": "T", "uT": "uT", "µT": "uT"}),
}
_NAME = re.compile(
    rf"(?P<before>.*?)(?P<sensor>{'|'.join(_SENSORS)})(?P<after>.*)\.csv".replace(" ", "[ _]?"), re.IGNORECASE
)
_AXIS = re.compile(r"([xyz])[- ]axis \((.*)\)", re.IGNORECASE)
_HEADER = re.compile(r'"?epoch? \(ms\)"?,', re.IGNORECASE)


def _sensor_of(name: str) -> tuple[str, str] | None:
    """What a file's name has before the sensor, and the sensor.

    Example:
        >>> _sensor_of("MetaWear_2019-05-21T10.37.22.183_E8C9A9D9D4D7_Gyroscope_100.000Hz_1.4.4.csv")
        ('metawear_2019-05-21t10.37.22.183_e8c9a9d9d4d7_', 'Gyroscope')
    """
    match = _NAME.fullmatch(PurePosixPath(name).name)
    if match is None:
        return None
    plain = re.sub(r"[ _]", "", match["sensor"]).lower()
    return match["before"].lower(), next(s for s in _SENSORS if s.replace(" ", "").lower() == plain)


@readers.register("metamotion")
class MetaMotion(Reader):
    """MetaMotion sensors (MbientLab): CSV files of MetaBase, accelerometer and gyroscope joined to one device.

    The declared file is one of them, or their folder or ZIP archive; the others have the same name before the sensor.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("metamotion").formats
        ('.csv', '.zip', '/')
    """

    name = "metamotion"
    title = "MetaMotion (MbientLab MetaBase)"
    formats = (".csv", ".zip", "/")
    reads = "accelerometer, gyroscope, magnetometer, each with its own times"
    gravity = "included in Accelerometer, removed in Linear Acceleration"
    clock = "UTC (epoch in ms), the elapsed seconds where they are finer"
    url = "https://mbientlab.com/tutorials"

    def recognises(self, path: Path) -> str | None:
        if path.suffix.lower() == ".csv" and path.is_file():
            own = _sensor_of(path.name)
            first = decoded(head(path, 400)).split("\n", 1)[0]
            return f"first line {first[:50]!r}" if own is not None and _HEADER.match(first) else None
        names = names_in(path) if path.is_dir() or head(path, 2) == b"PK" else ()
        for name in names:
            if _sensor_of(name) is not None:
                try:
                    first = decoded(Members(path).read(name)[:400]).split("\n", 1)[0]
                except RecordingError:
                    return None
                return f"contains {name}, first line {first[:50]!r}" if _HEADER.match(first) else None
        return None

    def files(self, path: Path) -> tuple[Path, ...]:
        own = _sensor_of(path.name) if path.is_file() and path.suffix.lower() == ".csv" else None
        if own is None:
            return super().files(path)
        return tuple(sorted(p for p in path.parent.iterdir() if (n := _sensor_of(p.name)) and n[0] == own[0]))

    def read(self, path: Path) -> Reading:
        contents: dict[str, tuple[str, bytes]] = {}
        if path.is_file() and path.suffix.lower() == ".csv":
            found = [(str(file), file.name, Members(file)) for file in self.files(path)]
        else:
            members = Members(path)
            found = [(members.where(n), n, members) for n in members.names if _sensor_of(n)]
        prefixes = set()
        for where, name, members in found:
            own = _sensor_of(name)
            if own is not None:
                prefixes.add((str(PurePosixPath(name).parent), own[0]))
                contents[own[1]] = (where, members.read(name))
        if not {"Accelerometer", "Gyroscope", "Linear Acceleration"} & set(contents):
            raise RecordingError(
                f"{path}: no file of MetaBase in it, expected names such as ..._Accelerometer_....csv",
                hint="declare the CSV file of the accelerometer, or the folder of one recording",
            )
        if len(prefixes) > 1:
            several = ", ".join(repr(prefix) for _, prefix in sorted(prefixes)[:3])
            raise RecordingError(f"{path}: contains several recordings: {several}", hint="declare one of the CSV files")
        notes: list[str] = []
        sensors = {
            _SENSORS[s][0]: _track(where, content, _SENSORS[s][1], notes) for s, (where, content) in contents.items()
        }
        gravity: bool | None = True if "acc" in sensors else None
        linear = sensors.pop("linear", None)
        if linear is not None and "acc" not in sensors:
            sensors["acc"], gravity = linear, False
            notes.append("only acceleration without gravity was recorded")
        zero = min(float(track.times[0]) for track in sensors.values())
        tracks = {k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in sensors.items()}
        device = DeviceReading(name="metamotion", tracks=tracks, gravity=gravity)
        return Reading(devices=(device,), tags={"app": "MetaBase"}, notes=tuple(notes), start_utc=zero)


def _track(where: str, content: bytes, units: dict[str, str], notes: list[str]) -> Track:
    sheet = Sheet(where, content)
    epoch = next((n for n in sheet.names if re.match(r"epoch? \(ms\)", n, re.IGNORECASE)), None)
    axes = {m[1].lower(): (n, m[2]) for n in sheet.names if (m := _AXIS.fullmatch(n))}
    if epoch is None or set(axes) != {"x", "y", "z"}:
        raise RecordingError(f"{where}: columns are {', '.join(sheet.names)}; expected epoc (ms) and x-axis (unit)")
    unit = units.get(axes["x"][1])
    if unit is None:
        raise RecordingError(f"{where}: unit {axes['x'][1]!r}, expected one of {', '.join(units)}")
    values = sheet.numbers([axes[axis][0] for axis in "xyz"])
    if unit == "T":
        values, unit = values * 1e6, "uT"
    times = sheet.numbers([epoch])[0] / 1e3
    elapsed = next((n for n in sheet.names if n.lower() == "elapsed (s)"), None)
    if elapsed is not None:
        seconds = sheet.numbers([elapsed])[0]
        start = float(np.nanmedian(times - seconds)) if np.isfinite(times - seconds).any() else np.nan
        # Stamps have whole milliseconds; elapsed seconds are kept where they tell the same time.
        if np.isfinite(start) and np.nanmax(np.abs(times - seconds - start)) <= 0.002:
            times = seconds + start
    return ordered(Track(times=times, values=values, unit=unit), where=where, notes=notes)
