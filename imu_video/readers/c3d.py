"""C3D: inertial sensors among the analog channels of a motion capture file; no markers and no forces.

Written from the C3D file format user guide (https://www.c3d.org). Sensors are found by their labels, in which the
kind and the axis are named: ``Sensor 1.ACCX1``, ``imu_3.gyr.z``.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.files import finite, read_bytes
from imu_video.readers.members import head
from imu_video.readers.unit_names import unit_named
from imu_video.registry import readers

_BLOCK = 512
_LABEL = re.compile(
    r"(?P<before>.*?)(?P<kind>acc|gyr|omega|mag)(?:el|eleration|elerometer|o|oscope|netometer)?[ ._-]*(?P<axis>[xyz])"
    r"(?P<after>[ ._-]*\w*)",
    re.IGNORECASE,
)
_KINDS = {"acc": "acc", "gyr": "gyr", "omega": "gyr", "mag": "mag"}

Parameters = dict[tuple[str, str], list[float] | list[str]]


@dataclass(frozen=True, kw_only=True)
class _Analog:
    """The analog channels of a file: labels, units and scaled values (channels, T)."""

    labels: list[str]
    units: list[str]
    values: np.ndarray
    rate_hz: float


@readers.register("c3d")
class C3d(Reader):
    """Accelerometers, gyroscopes and magnetometers in the analog channels of C3D files.

    Args:
        acc_unit, gyr_unit: units where the file states none or volts.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build({"name": "c3d", "acc_unit": "g"}).formats
        ('.c3d',)
    """

    name = "c3d"
    title = "C3D (Vicon, Qualisys, Delsys and others)"
    formats = (".c3d",)
    reads = "acceleration, angular rate and magnetic field among the analog channels"
    gravity = "the file does not say"
    clock = "first frame"
    url = "https://www.c3d.org/docs/C3D_User_Guide.pdf"

    def __init__(
        self,
        *,
        acc_unit: Literal["m/s^2", "g", "mg"] | None = None,
        gyr_unit: Literal["rad/s", "deg/s"] | None = None,
    ) -> None:
        self.units = {"acc": acc_unit, "gyr": gyr_unit, "mag": None}

    def read(self, path: Path) -> Reading:
        """All analog channels of the file whose labels name a kind of sensor and an axis."""
        analog = _analog(read_bytes(path, limit=1 << 31), path)
        times = np.arange(analog.values.shape[1]) / analog.rate_hz
        found: dict[str, dict[str, dict[str, int]]] = {}
        for index, label in enumerate(analog.labels):
            if match := _LABEL.fullmatch(label.strip()):
                words = re.sub(r"[^a-z0-9]+", "_", f"{match['before']}_{match['after']}".lower()).strip("_")
                kind = _KINDS[match["kind"].lower()]
                found.setdefault(words or "imu", {}).setdefault(kind, {})[match["axis"].lower()] = index
        notes: list[str] = []
        devices = []
        for name, kinds in found.items():
            tracks = {}
            for kind, axes in kinds.items():
                if sorted(axes) != ["x", "y", "z"]:
                    notes.append(f"{name}: {kind} has only the axes {', '.join(sorted(axes))}: not read")
                    continue
                rows = [axes[axis] for axis in "xyz"]
                read = self._unit(kind, {analog.units[row] for row in rows}, analog.labels[rows[0]], path)
                if read is None:
                    notes.append(f"{name}: {kind} has no known unit: not read")
                    continue
                if np.isfinite(analog.values[rows]).any():
                    tracks[kind] = Track(times=times, values=finite(analog.values[rows] * read[1]), unit=read[0])
            if "acc" in tracks or "gyr" in tracks:
                devices.append(DeviceReading(name=name, tracks=tracks))
        if not devices:
            raise RecordingError(
                f"{path}: none of its {len(analog.labels)} analog channels is an axis of an accelerometer or gyroscope "
                f"({', '.join(analog.labels[:6])} ...)",
                hint="export the inertial sensors with labels that contain kind and axis: ACCX1, gyr.y",
            )
        return Reading(devices=tuple(devices), tags={"rate_hz": f"{analog.rate_hz:g}"}, notes=tuple(notes))

    def recognises(self, path: Path) -> str | None:
        """The key of the format in the second byte, and a parameter section where the first byte says."""
        begin = head(path, 1 << 16)
        if len(begin) < _BLOCK or begin[1] != 0x50 or path.suffix.lower() != ".c3d":
            return None
        return "C3D header (second byte 0x50)"

    def _unit(self, kind: str, stated: set[str], label: str, path: Path) -> tuple[str, float] | None:
        given = self.units[kind]
        if given is not None:
            return given, 1.0
        text = stated.pop() if len(stated) == 1 else ""
        read = unit_named(text, kind)
        if read is None and kind != "mag":
            raise ConfigError(
                f"{path}: the unit of {label!r} is {text!r}, expected one of {kind}",
                hint=f"declare it: reader: {{name: c3d, {kind}_unit: {'g' if kind == 'acc' else 'deg/s'}}}",
            )
        return read


# ---------------------------------------------------------------------------------------------------------- the format


def _analog(data: bytes, path: Path) -> _Analog:
    try:
        return _decoded(data, path)
    except (struct.error, IndexError, KeyError, ValueError, OverflowError, MemoryError) as error:
        raise RecordingError(
            f"{path}: damaged C3D file ({type(error).__name__}: {error})", hint="export the trial again"
        ) from error


def _decoded(data: bytes, path: Path) -> _Analog:
    if len(data) < 2 * _BLOCK or data[1] != 0x50 or not 2 <= data[0] <= 255:
        raise RecordingError(f"{path}: not a C3D file: it begins with {data[:2]!r}, expected a number and b'P'")
    begin = (data[0] - 1) * _BLOCK
    processor = data[begin + 3]
    if processor not in (84, 86):
        raise RecordingError(
            f"{path}: numbers of processor type {processor}, expected 84 (Intel) or 86 (MIPS)",
            hint="save the file again with a current program",
        )
    order = "<" if processor == 84 else ">"
    parameters = _parameters(data, begin, order)
    words = struct.unpack_from(f"{order}5H", data, 2)
    points, per_frame, first, last = words[0], words[1], words[2], words[3]
    scale, start_block, samples, rate = struct.unpack_from(f"{order}fHHf", data, 12)
    channels = int(_numbers(parameters, "ANALOG", "USED", [0.0])[0])
    if channels < 1 or samples < 1 or channels * samples != per_frame:
        raise RecordingError(
            f"{path}: {channels} analog channels with {samples} samples per frame, {per_frame} values per frame",
            hint="the file has no analog channels; export it with its inertial sensors" if channels < 1 else None,
        )
    if not 0 < rate <= 1e5 or not 1 <= channels <= 10_000:
        raise ValueError(f"{rate} frames per second, {channels} channels")
    floats = scale < 0
    kind = np.dtype(f"{order}f4" if floats else f"{order}i2")
    width = points * 4 + per_frame
    offset = (start_block - 1) * _BLOCK
    there = max(len(data) - offset, 0) // (width * kind.itemsize)
    frames = _frames(parameters, first, last)
    if offset < _BLOCK or there < frames:
        raise RecordingError(f"{path}: ends after {there} of {frames} frames", hint="copy or export the trial again")
    if frames < 2:
        raise RecordingError(f"{path}: {frames} frames, expected at least 2")
    raw = np.frombuffer(data, dtype=kind, count=frames * width, offset=offset).reshape(frames, width)[:, points * 4 :]
    counts = raw.reshape(frames * samples, channels).T
    counts = (finite(counts) if floats else counts).astype(np.float64)
    if not floats and "".join(_texts(parameters, "ANALOG", "FORMAT")).strip().upper() == "UNSIGNED":
        counts = counts % 65536
    scales = np.array(_numbers(parameters, "ANALOG", "SCALE", [1.0] * channels)[:channels])
    offsets = np.array(_numbers(parameters, "ANALOG", "OFFSET", [0.0] * channels)[:channels])
    general = _numbers(parameters, "ANALOG", "GEN_SCALE", [1.0])[0]
    if len(scales) < channels or len(offsets) < channels or not math.isfinite(general):
        raise ValueError(f"{len(scales)} scales and {len(offsets)} offsets of {channels} channels")
    labels = _texts(parameters, "ANALOG", "LABELS")
    units = _texts(parameters, "ANALOG", "UNITS")
    return _Analog(
        labels=[*labels, *[""] * channels][:channels],
        units=[*units, *[""] * channels][:channels],
        values=finite((counts - offsets[:, None]) * scales[:, None] * general),
        rate_hz=rate * samples,
    )


def _frames(parameters: Parameters, first: int, last: int) -> int:
    """Frames of the trial; the header counts to 65,535 only, the TRIAL group further."""
    begin = _numbers(parameters, "TRIAL", "ACTUAL_START_FIELD", [])
    end = _numbers(parameters, "TRIAL", "ACTUAL_END_FIELD", [])
    if len(begin) >= 2 and len(end) >= 2:
        low, high = ((int(part[0]) & 0xFFFF) + ((int(part[1]) & 0xFFFF) << 16) for part in (begin, end))
        if high >= low:
            return high - low + 1
    return last - first + 1


def _parameters(data: bytes, begin: int, order: str) -> Parameters:
    """Parameters by group and name, upper case; labels past 255 (LABELS2 ...) are joined to the first ones."""
    groups: dict[int, str] = {}
    raw: list[tuple[int, str, list[float] | list[str]]] = []
    place = begin + 4
    while place + 2 <= len(data):
        length, group = struct.unpack_from("bb", data, place)
        if length == 0 or group == 0:
            break
        name = data[place + 2 : place + 2 + abs(length)].decode("latin-1").strip().upper()
        pointer = place + 2 + abs(length)
        (step,) = struct.unpack_from(f"{order}h", data, pointer)
        if group < 0:
            groups[-group] = name
        else:
            raw.append((group, name, _value(data, pointer + 2, order)))
        if step <= 0:
            break
        place = pointer + step
    found: Parameters = {(groups.get(group, ""), name): value for group, name, value in raw}
    for (group_name, name), value in list(found.items()):
        base = re.sub(r"\d+$", "", name)
        if base != name and (held := found.get((group_name, base))) is not None:
            held.extend(value)  # type: ignore[arg-type]
    return found


def _value(data: bytes, place: int, order: str) -> list[float] | list[str]:
    kind, axes = struct.unpack_from("bB", data, place)
    shape = list(data[place + 2 : place + 2 + axes])
    if axes > 7 or len(shape) != axes:
        raise ValueError(f"a parameter of {axes} dimensions")
    count = math.prod(shape)
    start = place + 2 + axes
    if kind == -1:
        width = shape[0] if shape else 1
        if not width:
            return []
        found = data[start : start + count]
        return [_text(found[i : i + width]) for i in range(0, len(found), width)]
    letter = {1: "b", 2: "h", 4: "f"}.get(kind)
    if letter is None:
        raise ValueError(f"a parameter of type {kind}")
    return [float(v) for v in struct.unpack_from(f"{order}{count}{letter}", data, start)]


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.strip(" \0")


def _numbers(parameters: Parameters, group: str, name: str, default: list[float]) -> list[float]:
    found = parameters.get((group, name)) or default
    return [v for v in found if isinstance(v, float)] or default


def _texts(parameters: Parameters, group: str, name: str) -> list[str]:
    return [v for v in parameters.get((group, name)) or [] if isinstance(v, str)]
