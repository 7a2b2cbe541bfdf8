"""ActiGraph .gt3x: raw acceleration of GT3X+, wGT3X-BT and GT9X Link, and the IMU of the Link; no epoch counts.

Written from ActiGraph's documentation of the format. A .gt3x file is a ZIP archive. Current devices write ``log.bin``,
records of one second with a checksum each; what lies between two valid records is skipped and counted. In idle sleep
mode a device writes nothing while it does not move: these seconds remain a gap (the manufacturer's CSV export repeats
the last sample instead). GT3X+ devices with firmware 2.5 and earlier write ``activity.bin``, samples without times.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.blocks import block_times
from imu_video.readers.files import finite, local_time
from imu_video.readers.members import Members, head, names_in
from imu_video.registry import readers

_ACTIVITY, _EVENT, _PARAMETERS, _SCHEMA, _SENSORS, _ACTIVITY2 = 0, 3, 21, 24, 25, 26
_DOCUMENTED = {0, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15, 16, 19, 20, 21, 24, 25, 26}
_SEPARATOR = 0x1E
_TICKS_1970 = 621_355_968_000_000_000  # of 100 ns from year 1 to 1970
_SCALES = {"NEO": 341.0, "CLE": 341.0, "MRA": 341.0}
_SCALE = 256.0
_IMU_UNITS = {"accelerometer": ("acc", "g"), "gyroscope": ("gyr", "deg/s"), "magnetometer": ("mag", "uT")}


@dataclass(kw_only=True)
class _Log:
    """Records of ``log.bin`` that concern motion."""

    activity: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Type, second, and begin and end of the payload."""
    sensors: list[tuple[int, int, int]] = field(default_factory=list)
    schemas: dict[int, list[tuple[str, str, int, float]]] = field(default_factory=dict)
    scale: float | None = None
    sleep_s: float = 0.0
    damaged: int = 0
    skipped: int = 0


@readers.register("gt3x")
class Gt3x(Reader):
    """Raw files of ActiGraph monitors.

    The IMU of a GT9X Link is a second device of the file: ``imu`` beside ``monitor``.

    Example:
        >>> readers.build("gt3x").formats
        ('.gt3x',)
    """

    name = "gt3x"
    title = "ActiGraph GT3X+, wGT3X-BT, GT9X Link"
    formats = (".gt3x",)
    reads = "acceleration; acceleration, angular rate and magnetic field of the Link's IMU"
    gravity = "included (raw acceleration)"
    clock = "first sample; UTC from the time zone in info.txt"
    url = "https://github.com/actigraph/GT3X-File-Format"
    tested_on = "real files"

    def read(self, path: Path) -> Reading:
        """All valid records of the file."""
        members = Members(path)
        info = _info(members)
        notes: list[str] = []
        if "log.bin" in members.names:
            tracks = _from_log(members.read("log.bin"), info, notes, path)
        elif "activity.bin" in members.names:
            tracks = {"monitor": {"acc": _from_activity(members.read("activity.bin"), info, path)}}
        else:
            raise RecordingError(
                f"{path}: neither log.bin nor activity.bin in it, so it is not an ActiGraph file",
                hint="download the device again with the program of the manufacturer",
            )
        zero = min(float(t.times[0]) for device in tracks.values() for t in device.values())
        tags = {"start_local": local_time(zero)}
        zone = _zone(info)
        for key, tag in (("Device Type", "device"), ("Serial Number", "serial"), ("TimeZone", "time_zone")):
            if key in info:
                tags[tag] = f"ActiGraph {info[key]}" if tag == "device" else info[key]
        devices = tuple(
            DeviceReading(
                name=name,
                tracks={k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in found.items()},
                gravity=True,
            )
            for name, found in tracks.items()
        )
        if zone is None:
            tags["time_zone"] = "not stated; read as UTC"
        start = zero - (zone or 0.0)
        return Reading(devices=devices, tags=tags, notes=tuple(notes), start_utc=start)

    def recognises(self, path: Path) -> str | None:
        """A ZIP archive with info.txt and samples of an ActiGraph monitor."""
        if head(path, 2) != b"PK":
            return None
        names = set(names_in(path))
        samples = sorted(names & {"log.bin", "activity.bin"})
        return f"ZIP archive with info.txt and {samples[0]}" if "info.txt" in names and samples else None


def _info(members: Members) -> dict[str, str]:
    if "info.txt" not in members.names:
        raise RecordingError(
            f"{members.path}: no info.txt in it, so it is not an ActiGraph file",
            hint="download the device again with the program of the manufacturer",
        )
    text = members.read("info.txt").decode("utf-8-sig", errors="replace")
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _number(info: dict[str, str], key: str, path: Path, *, low: float, high: float) -> float:
    try:
        value = float(info[key].replace(",", "."))
    except (KeyError, ValueError):
        value = float("nan")
    if not low <= value <= high:
        raise RecordingError(
            f"{path}: info.txt: {key} is {info.get(key)!r}, expected a number in {low:g} .. {high:g}",
            hint="download the device again with the program of the manufacturer",
        )
    return value


def _zone(info: dict[str, str]) -> float | None:
    """Seconds from UTC to the device's local time; None if the file does not say.

    Example:
        >>> _zone({"TimeZone": "-05:30:00"}), _zone({})
        (-19800.0, None)
    """
    match = re.fullmatch(r"([+-]?)(\d{1,2}):(\d{2})(?::(\d{2}))?", info.get("TimeZone", ""))
    if not match:
        return None
    sign, hours, minutes, seconds = match.groups()
    return (-1 if sign == "-" else 1) * (int(hours) * 3600.0 + int(minutes) * 60 + int(seconds or 0))


# ------------------------------------------------------------------------------------------------------------ log.bin


def _from_log(data: bytes, info: dict[str, str], notes: list[str], path: Path) -> dict[str, dict[str, Track]]:
    log = _records(data)
    rate = _number(info, "Sample Rate", path, low=1, high=1000)
    if log.damaged:
        notes.append(f"{log.damaged} damaged stretches of log.bin, together {log.skipped} bytes: skipped")
    if log.sleep_s:
        notes.append(f"{log.sleep_s:.0f} s in idle sleep mode: no samples")
    found: dict[str, dict[str, Track]] = {}
    if log.activity:
        scale = log.scale or _scale(info)
        parts = [_samples(data, kind, begin, end) for kind, _, begin, end in log.activity]
        track, dropped = _track(parts, [second for _, second, _, _ in log.activity], rate, 1 / scale, "g", path)
        found["monitor"] = {"acc": track}
        if dropped:
            notes.append(f"{dropped} of {len(parts)} seconds out of order in time: skipped")
    if log.sensors and (imu := _imu(data, log, path)):
        found["imu"] = imu
    if not found:
        raise RecordingError(
            f"{path}: log.bin has no valid record of samples in {len(data)} bytes",
            hint="export raw data: files with epoch counts only cannot be used",
        )
    return found


def _records(data: bytes) -> _Log:
    """Valid records in their order; bytes between them that are not 0 count as damage."""
    log = _Log()
    whole = np.frombuffer(data, dtype=np.uint8)
    running = np.concatenate([np.zeros(1, np.uint8), np.bitwise_xor.accumulate(whole)])
    place, sound_end, last = 0, 0, 0
    asleep: int | None = None
    while True:
        start = data.find(_SEPARATOR, place)
        if start < 0 or start + 9 > len(data):
            break
        kind, second, size = struct.unpack_from("<BIH", data, start + 1)
        end = start + 9 + size
        # The exclusive or of a sound record with its checksum, the complement of the rest, has all bits set. With 8
        # bits one wrong record in 256 would pass, so what follows must look like a record, too.
        sound = (
            kind in _DOCUMENTED
            and end <= len(data)
            and running[end] ^ running[start] == 0xFF
            and (end == len(data) or data[end] in (_SEPARATOR, 0) or start == sound_end)
        )
        if not sound:
            place = start + 1
            continue
        _count_damage(log, data, sound_end, start)
        place = sound_end = end
        last = second
        begin = start + 8
        if kind in (_ACTIVITY, _ACTIVITY2):
            if size > 1:  # one byte says that the device was connected to a computer
                log.activity.append((kind, second, begin, end - 1))
        elif kind == _EVENT and size == 1 and data[begin] in (8, 9):
            if data[begin] == 8:
                asleep = second
            elif asleep is not None:
                log.sleep_s, asleep = log.sleep_s + max(second - asleep, 0), None
        elif kind == _PARAMETERS:
            log.scale = _parameters(data[begin : end - 1]) or log.scale
        elif kind == _SCHEMA:
            _schema(data[begin : end - 1], log)
        elif kind == _SENSORS:
            log.sensors.append((second, begin, end - 1))
    if asleep is not None:
        log.sleep_s += max(last - asleep, 0)
    _count_damage(log, data, sound_end, len(data))
    return log


def _count_damage(log: _Log, data: bytes, begin: int, end: int) -> None:
    if data[begin:end].strip(b"\0"):
        log.damaged += 1
        log.skipped += end - begin


def _parameters(payload: bytes) -> float | None:
    """The scale of the acceleration in steps per g, which parameter (0, 55) gives; None without it."""
    for place in range(0, len(payload) - 7, 8):
        space, number, value = struct.unpack_from("<HHI", payload, place)
        if (space, number) == (0, 55):
            scale = _float(value)
            return scale if 1 <= scale <= 65536 else None
    return None


def _float(value: int) -> float:
    """A number of 24 bits of fraction and 8 bits of exponent.

    Example:
        >>> _float(0x09400000)
        256.0
    """
    exponent = value >> 24
    fraction = value & 0xFFFFFF
    exponent -= (exponent & 0x80) << 1
    fraction -= (fraction & 0x800000) << 1
    return float(fraction / 8_388_608 * 2.0**exponent)


def _scale(info: dict[str, str]) -> float:
    try:
        stated = float(info.get("Acceleration Scale", "nan"))
    except ValueError:
        stated = float("nan")
    return stated if 1 <= stated <= 65536 else _SCALES.get(info.get("Serial Number", "")[:3].upper(), _SCALE)


def _samples(data: bytes, kind: int, begin: int, end: int) -> np.ndarray:
    """Counts (T, 3) of one second, axes x, y, z."""
    if kind == _ACTIVITY2:
        return np.frombuffer(data, dtype="<i2", count=(end - begin) // 6 * 3, offset=begin).reshape(-1, 3)
    return unpack_12_bits(np.frombuffer(data, dtype=np.uint8, count=end - begin, offset=begin))


def unpack_12_bits(packed: np.ndarray) -> np.ndarray:
    """Samples of three signed 12-bit numbers in the order y, x, z, to (T, 3) in the order x, y, z.

    Example:
        >>> unpack_12_bits(np.frombuffer(bytes.fromhex("006008EBD007009EBF"), np.uint8)).tolist()
        [[8, 6, -323], [9, 7, -321]]
    """
    samples = len(packed) * 2 // 9
    padded = np.concatenate([packed, np.zeros(-len(packed) % 3, np.uint8)]).astype(np.int16).reshape(-1, 3)
    pairs = np.stack(
        [padded[:, 0] << 4 | padded[:, 1] >> 4, (padded[:, 1] & 0x0F) << 8 | padded[:, 2]], axis=-1
    ).ravel()[: samples * 3]
    return ((pairs & 0x7FF) - (pairs & 0x800)).reshape(-1, 3)[:, [1, 0, 2]]


def _track(
    parts: list[np.ndarray], seconds: list[int], rate: float, factor: float, unit: str, path: Path
) -> tuple[Track, int]:
    counts = np.array([len(p) for p in parts])
    keep = np.flatnonzero(counts)
    # A second with a few samples more than its rate is spread over the second, so that it does not reach into the next.
    found = block_times(np.array(seconds, dtype=np.float64)[keep], counts[keep], rate_hz=rate, source=str(path))
    values = np.concatenate([parts[i] for i in keep[found.kept].tolist()]).T
    return Track(times=found.times, values=finite(values * factor).astype(np.float32), unit=unit), found.dropped


# ---------------------------------------------------------------------------------------------------- IMU of the Link


def _schema(payload: bytes, log: _Log) -> None:
    """Columns of a kind of sensor record: label, numpy type, size, scale."""
    if len(payload) < 6:
        return
    number, columns, _ = struct.unpack_from("<HHH", payload)
    if len(payload) < 6 + 23 * columns:
        return
    found = []
    for index in range(columns):
        flags, _, bits, scale, label = struct.unpack_from("<BBBI16s", payload, 6 + 23 * index)
        if bits not in (8, 16):
            return
        kind = (">" if flags & 1 else "<") + ("i" if flags & 2 else "u") + str(bits // 8)
        found.append((label.decode("ascii", errors="replace").strip(" \0").lower(), kind, bits // 8, _float(scale)))
    log.schemas[number] = found


def _imu(data: bytes, log: _Log, path: Path) -> dict[str, Track]:
    kinds = Counter(struct.unpack_from("<H", data, b)[0] for _, b, e in log.sensors if e - b > 2)
    number = next((n for n, _ in kinds.most_common() if n in log.schemas), None)
    if number is None:
        return {}
    columns = log.schemas[number]
    names = [f"c{i}" for i in range(len(columns))]
    row = np.dtype([(name, kind) for name, (_, kind, _, _) in zip(names, columns, strict=True)])
    parts, seconds = [], []
    for second, begin, end in log.sensors:
        count = (end - begin - 2) // row.itemsize
        if count > 0 and struct.unpack_from("<H", data, begin)[0] == number:
            parts.append(np.frombuffer(data, dtype=row, count=count, offset=begin + 2))
            seconds.append(second)
    if not parts:
        return {}
    labels = {label: (name, scale) for name, (label, _, _, scale) in zip(names, columns, strict=True)}
    rate = float(np.median([len(p) for p in parts]))
    tracks = {}
    for sensor, (kind, unit) in _IMU_UNITS.items():
        axes = [labels.get(f"{sensor} {axis}") for axis in "xyz"]
        if any(axis is None for axis in axes):
            continue
        scaled = [
            np.stack([p[axis[0]] / (axis[1] or 1.0) for axis in axes if axis is not None], axis=-1) for p in parts
        ]
        tracks[kind] = _track(scaled, seconds, rate, 1.0, unit, path)[0]
    return tracks


# -------------------------------------------------------------------------------------------------------- activity.bin


def _from_activity(data: bytes, info: dict[str, str], path: Path) -> Track:
    """Samples of old firmware: they follow each other from the start date on, at the sample rate."""
    rate = _number(info, "Sample Rate", path, low=1, high=1000)
    start = (_number(info, "Start Date", path, low=_TICKS_1970, high=2 * _TICKS_1970) - _TICKS_1970) / 1e7
    counts = unpack_12_bits(np.frombuffer(data, dtype=np.uint8))
    if not len(counts):
        raise RecordingError(f"{path}: activity.bin is empty")
    times = start + np.arange(len(counts)) / rate
    return Track(times=times, values=(counts.T / _scale(info)).astype(np.float32), unit="g")
