"""GoPro MP4 files: accelerometer, gyroscope and video of the camera from one file; no estimate of the sync offset.

The telemetry track (GPMF) is read with the package `py-gpmf-parser`. Its samples carry no times; each payload of about
a second gives the time of its first sample: as STMP (microseconds), as TICK (milliseconds), or only by its position in
the MP4. A straight line through these times over the sample count gives the time of every sample. Neither a nominal
rate nor the duration of a payload is used, because the last payload usually contains far fewer samples than its
duration suggests. Time 0 is the first frame (first exposure time, SHUT, on the same clock); the latency of its
delivery, a frame or two, is not corrected.

Axes: the GPMF documentation labels the axes of the camera body X, Y, Z, with Z up when the camera stands upright.
Streams with ORIN and ORIO are brought into ORIO's order by the package; older cameras name the order Z, X, Y in the
stream's title. Where neither is known the order of the file is kept and the tag ``axes`` says ``file``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from imu_video.datasets.common import chosen, union_of_times
from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.mp4 import Mp4Source
from imu_video.recordings.signal import check_plausible
from imu_video.registry import datasets
from imu_video.types import IMU_CHANNELS, ImuStream, Recording

_TITLES = {"(z,x,y)": "ZXY", "(up/down, right/left, forward/back)": "ZXY"}
_BY_DEVICE = {"fusion": "yXZ"}  # its title says otherwise; the GPMF documentation gives -Y, X, Z
_LINE_ERROR_S = 0.05


@datasets.register("gopro")
class GoPro:
    """Clips of GoPro cameras (HERO5 and later, Fusion, MAX) as recordings with one IMU, placement ``camera``.

    One recording per file. The camera's own motion, not labelled activity. Accelerometer and gyroscope keep their own
    sample times: where these differ, a sample of one sensor is NaN in the channels of the other.

    Args:
        root: an MP4 file, or a folder with MP4 files (not searched deeper).
        subjects: file name without ending -> subject; other files have the subject ``camera``.
        video_offset_s: added to all frame times, to correct a known latency; positive = frames taken later.

    Raises:
        RecordingError: no such file or no MP4 in the folder.
        ConfigError: the extra ``gopro`` is not installed, or ``subjects`` names a missing file.

    Example:
        >>> GoPro(root="clips", subjects={"GX010001": "anna"}).subjects()
        ['anna', 'camera']
    """

    name = "gopro"
    licence: ClassVar[str] = "yours: these are your own files"
    citation: ClassVar[str] = "own recordings; telemetry format: GoPro GPMF, https://github.com/gopro/gpmf-parser"
    url: ClassVar[str] = "https://github.com/gopro/gpmf-parser"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = ("camera",)
    labels: ClassVar[tuple[str, ...]] = ()
    rate_hz: ClassVar[float] = 200.0

    def __init__(self, *, root: str, subjects: dict[str, str] | None = None, video_offset_s: float = 0.0) -> None:
        gpmf_package()
        path = Path(root).expanduser()
        if path.is_file():
            self.files = [path]
        else:
            self.files = sorted(p for p in path.glob("*") if p.suffix.lower() == ".mp4") if path.is_dir() else []
        if not self.files:
            raise RecordingError(
                f"{self.name}: no MP4 file at {path}", hint="set dataset.root to an MP4 file or a folder of them"
            )
        self.people = dict(subjects or {})
        missing = sorted(set(self.people) - {p.stem for p in self.files})
        if missing:
            raise ConfigError(f"{self.name}: subjects names {missing[0]!r}, but {path} has no {missing[0]}.mp4")
        self.video_offset_s = video_offset_s

    def subjects(self) -> list[str]:
        """Sorted subjects, from the configuration."""
        return sorted({self.people.get(p.stem, "camera") for p in self.files})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per file, ordered by file name."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for path in self.files:
            subject = self.people.get(path.stem, "camera")
            if subject in wanted:
                yield self._recording(path, subject)

    def _recording(self, path: Path, subject: str) -> Recording:
        telemetry = read_telemetry(path)
        stream = _merge(telemetry["ACCL"], telemetry["GYRO"], path)
        device = telemetry["ACCL"].device
        return Recording(
            dataset=self.name,
            subject=subject,
            name=re.sub(r"[^A-Za-z0-9_-]", "_", path.stem),
            imu=(stream,),
            streams={"video": Mp4Source(path, offset_s=self.video_offset_s)},
            tags={"camera": device, "axes": "camera" if telemetry["ACCL"].order else "file"},
        )


def gpmf_package() -> Any:
    """The module `py_gpmf_parser`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import py_gpmf_parser
    except ImportError as error:
        raise ConfigError(
            f"the gopro dataset needs the package py-gpmf-parser ({error})",
            hint="pip install 'imu-video[gopro]'",
        ) from error
    return py_gpmf_parser


@dataclass(kw_only=True)
class SensorTrack:
    """One sensor's samples over a whole file.

    Args:
        device: name of the camera.
        order: axes of the columns (``ZXY``; lower case = negative), or "" when unknown.
        values: (T, axes) in the units of the file after scaling.
        times: (T,) seconds after the first frame.
    """

    device: str = ""
    order: str = ""
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    times: np.ndarray = field(default_factory=lambda: np.empty(0))


@dataclass(kw_only=True)
class _Payload:
    """One sensor in one payload: values (n, axes), position in the file, and its three clocks."""

    values: np.ndarray
    first_sample: int | None
    mp4_s: float
    mp4_end_s: float
    tick_s: float | None
    stamp_s: float | None
    device: str
    unit: str
    order: str


def read_telemetry(path: Path) -> dict[str, SensorTrack]:
    """Accelerometer (``ACCL``, m/s^2) and gyroscope (``GYRO``, rad/s) of one MP4 with their sample times.

    Raises:
        RecordingError: no telemetry track, no such sensor in it, or other units than these.
    """
    payloads = _payloads(path)
    shutter = payloads["SHUT"]
    tracks: dict[str, SensorTrack] = {}
    for key, unit in (("ACCL", "m/s\xb2"), ("GYRO", "rad/s")):
        parts = payloads[key]
        if not parts or sum(len(p.values) for p in parts) < 2:
            raise RecordingError(f"{path}: its telemetry has no {key} samples", hint="record with a HERO5 or later")
        if parts[0].unit != unit or parts[0].values.shape[1] != 3:
            raise RecordingError(
                f"{path}: {key} has {parts[0].values.shape[1]} axes in {parts[0].unit!r}, expected 3 in {unit!r}"
            )
        tracks[key] = SensorTrack(
            device=parts[0].device,
            order=parts[0].order,
            values=np.concatenate([p.values for p in parts]),
            times=_times(parts, shutter[0] if shutter else None),
        )
    return tracks


def _payloads(path: Path) -> dict[str, list[_Payload]]:
    gpmf = gpmf_package()
    with path.open("rb") as file:  # checked here, because the parser reports every fault as "no telemetry"
        if file.read(12)[4:8] not in (b"ftyp", b"mdat", b"moov", b"free", b"wide"):
            raise RecordingError(f"{path}: not an MP4 file")
    handle = gpmf.OpenMP4Source(str(path), gpmf.MOV_GPMF_TRAK_TYPE, gpmf.MOV_GPMF_TRAK_SUBTYPE, 0)
    if not handle:
        raise RecordingError(
            f"{path}: no GoPro telemetry track",
            hint="use the original file of the camera; programs that cut or convert videos drop the track",
        )
    try:
        found: dict[str, list[_Payload]] = {"ACCL": [], "GYRO": [], "SHUT": []}
        for index in range(gpmf.GetNumberPayloads(handle)):
            size = gpmf.GetPayloadSize(handle, index)
            resource = gpmf.GetPayloadResource(handle, 0, size)
            words = gpmf.GetPayload(handle, resource, index, size)
            _, begin, end = gpmf.GetPayloadTime(handle, index)
            for key, parts in found.items():
                payload = _payload(gpmf, words, size, key, begin, end)
                if payload is not None:
                    parts.append(payload)
    finally:
        gpmf.CloseSource(handle)
    return found


def _payload(gpmf: Any, words: list[int], size: int, key: str, begin: float, end: float) -> _Payload | None:
    ok = gpmf.GPMF_ERROR.GPMF_OK
    status, stream = gpmf.GPMF_Init(words, size)
    deep = gpmf.GPMF_LEVELS.GPMF_RECURSE_LEVELS_AND_TOLERANT
    if status != ok or gpmf.GPMF_FindNext(stream, gpmf.Str2FourCC("DVNM"), deep) != ok:
        return None
    device = _text(gpmf.GPMF_RawData(stream))
    if gpmf.GPMF_FindNext(stream, gpmf.Str2FourCC(key), deep) != ok:
        return None
    samples, axes = gpmf.GPMF_Repeat(stream), gpmf.GPMF_ElementsInStruct(stream)
    status, flat = gpmf.GPMF_ScaledData(stream, samples * axes * 8, 0, samples, gpmf.GPMF_SampleType.DOUBLE)
    if status != ok or not samples:
        return None
    level = gpmf.GPMF_LEVELS.GPMF_CURRENT_LEVEL

    def property_(name: str) -> bytes:
        """Raw value of a key that stands before the samples in their stream; the position is restored."""
        if gpmf.GPMF_FindPrev(stream, gpmf.Str2FourCC(name), level) != ok:
            return b""
        raw = bytes(gpmf.GPMF_RawData(stream))
        gpmf.GPMF_FindNext(stream, gpmf.Str2FourCC(key), level)
        return raw

    total, stamp, tick = property_("TSMP"), property_("STMP"), property_("TICK")
    return _Payload(
        values=np.asarray(flat[: samples * axes], dtype=np.float64).reshape(samples, axes),
        first_sample=struct.unpack(">I", total)[0] - samples if len(total) == 4 else None,
        mp4_s=begin,
        mp4_end_s=end,
        tick_s=struct.unpack(">I", tick)[0] / 1e3 if len(tick) == 4 else None,
        stamp_s=struct.unpack(">Q", stamp)[0] / 1e6 if len(stamp) == 8 else None,
        device=device,
        unit=_text(property_("SIUN")),
        order=axis_order(device, _text(property_("STNM")), _text(property_("ORIN")), _text(property_("ORIO"))),
    )


def axis_order(device: str, title: str, orin: str, orio: str) -> str:
    """Camera axes of the columns as returned by the parser, or "" if unknown.

    Args:
        device, title: DVNM and STNM of the stream.
        orin, orio: axes of the stored columns, and of the columns after the parser has reordered them.

    Example:
        >>> axis_order("GoPro Max", "Accelerometer", "XzY", "ZXY")
        'ZXY'
    """
    if orin:
        return orio or orin
    for known, order in _BY_DEVICE.items():
        if known in device.lower():
            return order
    return next((order for words, order in _TITLES.items() if words in title), "")


def to_camera_axes(values: np.ndarray, order: str) -> np.ndarray:
    """Columns in ``order`` (lower case = negative) to x, y, z; unchanged where the order is unknown.

    Example:
        >>> to_camera_axes(np.array([[3.0, -1.0, 2.0]]), "ZxY").tolist()
        [[1.0, 2.0, 3.0]]
    """
    if sorted(order.upper()) != ["X", "Y", "Z"]:
        return values
    columns = [order.upper().index(axis) for axis in "XYZ"]
    signs = np.array([1.0 if order[c].isupper() else -1.0 for c in columns])
    return np.asarray(values[:, columns] * signs)


def _times(parts: list[_Payload], shutter: _Payload | None) -> np.ndarray:
    """Seconds of every sample after the first frame: a line through the payloads' clocks, or segments if none fits."""
    counts = [len(p.values) for p in parts]
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.float64)
    told = np.array([np.nan if p.first_sample is None else p.first_sample for p in parts])
    if np.all(np.diff(told) >= counts[:-1]):  # the camera's own sample count includes lost payloads, so they stay gaps
        firsts = told
    zero: float | None
    if all(p.stamp_s is not None for p in parts):
        clock = np.array([p.stamp_s for p in parts], dtype=np.float64)
        zero = shutter.stamp_s if shutter else None
    elif all(p.tick_s is not None for p in parts):
        clock = np.array([p.tick_s for p in parts], dtype=np.float64)
        zero = shutter.tick_s if shutter else None
    else:
        clock = np.array([p.mp4_s for p in parts])
        zero = shutter.mp4_s if shutter else None
    clock = clock - (clock[0] - parts[0].mp4_s if zero is None else zero)
    numbers = np.concatenate([first + np.arange(count) for first, count in zip(firsts, counts, strict=True)])
    if len(parts) == 1:  # a clip of one payload has no second clock value, so its duration is the only information
        return np.asarray(clock[0] + np.arange(counts[0]) * (parts[0].mp4_end_s - parts[0].mp4_s) / counts[0])
    slope, offset = np.polyfit(firsts, clock, 1)
    if np.max(np.abs(offset + slope * firsts - clock)) <= _LINE_ERROR_S:
        return np.asarray(offset + slope * numbers)
    return np.interp(numbers, [*firsts, numbers[-1] + 1], [*clock, clock[-1] + slope * (numbers[-1] + 1 - firsts[-1])])


def _merge(acc: SensorTrack, gyr: SensorTrack, path: Path) -> ImuStream:
    """Both sensors on the union of their sample times."""
    for key, track in (("ACCL", acc), ("GYRO", gyr)):
        if np.any(np.diff(track.times) <= 0):
            raise RecordingError(f"{path}: the clock of its {key} telemetry runs backwards")
    times, values = union_of_times(
        (acc.times, to_camera_axes(acc.values, acc.order).T), (gyr.times, to_camera_axes(gyr.values, gyr.order).T)
    )
    check_plausible(values, IMU_CHANNELS, source=str(path))
    return ImuStream(placement="camera", times=times, values=values)


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").split("\0")[0].strip()
