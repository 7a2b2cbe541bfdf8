"""GoPro MP4 files: acceleration and angular rate of the camera on the clock of its video; the video is not decoded.

The samples of the telemetry carry no times; each payload of about a second gives the time of its first sample: as STMP
(microseconds), as TICK (milliseconds), or only by its position in the video. A straight line through these times over
the sample count gives the time of every sample. Neither a nominal rate nor the duration of a payload is used, because
the last payload usually contains far fewer samples than its duration suggests, and with pre-roll (HindSight) the first
one far more. A payload that was stamped late does not move its samples. Time 0 is the begin of the video, where the
first frame was exposed (SHUT, on the same clock); the latency of its delivery, a frame or two, is not corrected.

Axes: the GPMF documentation labels the axes of the camera body X, Y, Z, with Z up when the camera stands upright.
Cameras state the axes of their columns as ORIN; older ones name the order Z, X, Y in the title of the stream. Where
neither is known, the order of the file is kept and the tag ``axes`` is ``file``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.gpmf import Payload, camera, payloads
from imu_video.readers.members import head
from imu_video.registry import readers

_TITLES = {"(z,x,y)": "ZXY", "(up/down, right/left, forward/back)": "ZXY"}
_BY_DEVICE = {"fusion": "yXZ"}  # its title says otherwise; the GPMF documentation gives -Y, X, Z
_LINE_ERROR_S = 0.05
_ON_LINE = 0.75
"""Share of payloads whose times must lie on the line for the others to count as stamped late."""
_REAL_TIME = (0.8, 1.25)
"""Seconds of the camera's clock per second of the movie; time-lapse and TimeWarp videos lie far outside."""
_LARGEST_OFFSET_S = 1.0
_RATES_HZ = (20.0, 4000.0)
_SENSORS = {"ACCL": ("acc", "m/s\xb2", "m/s^2"), "GYRO": ("gyr", "rad/s", "rad/s")}


@readers.register("gopro")
class GoProTelemetry(Reader):
    """Telemetry in the MP4 files of GoPro cameras (HERO5 and later, Fusion, MAX).

    If a file lacks one of the two sensors, the other one is read.

    Example:
        >>> readers.build("gopro").formats
        ('.mp4',)
    """

    name = "gopro"
    title = "GoPro HERO5 and later, Fusion, MAX"
    formats = (".mp4",)
    reads = "acceleration and angular rate of the camera, in the axes of its body"
    gravity = "included"
    clock = "first frame of the video"
    url = "https://github.com/gopro/gpmf-parser"
    tested_on = "real files"

    def read(self, path: Path) -> Reading:
        """The telemetry track; the clock of the video is not changed."""
        found = read_telemetry(path)
        notes = []
        for key, track in found.items():
            if track.late:
                notes.append(
                    f"{key}: {track.late} of {track.payloads} payloads stamped late: times follow the sample count"
                )
            if track.missing:
                notes.append(f"{key}: {track.missing} of {track.payloads} payloads without samples")
            if track.lost:
                notes.append(f"{key}: {track.lost} samples that the camera counted are not in the file")
        tracks = {
            _SENSORS[key][0]: Track(
                times=track.times, values=to_camera_axes(track.values, track.order).T, unit=_SENSORS[key][2]
            )
            for key, track in found.items()
        }
        first = next(iter(found.values()))
        tags = {"camera": first.device, "axes": "camera" if first.order else "file"}
        return Reading(
            devices=(DeviceReading(name="camera", tracks=tracks, gravity=True),), tags=tags, notes=tuple(notes)
        )

    def recognises(self, path: Path) -> str | None:
        """An MP4 file in which FFmpeg finds the telemetry track."""
        if head(path, 12)[4:8] != b"ftyp" or path.suffix.lower() != ".mp4":
            return None
        try:
            device = camera(path)
        except RecordingError:
            return None
        return None if device is None else f"MP4 file with the telemetry of a {device or 'GoPro'}"


@dataclass(frozen=True, kw_only=True)
class SensorTrack:
    """One sensor's samples over a whole file.

    Args:
        device: name of the camera.
        order: axes of the columns (``ZXY``; lower case = negative), or "" when unknown.
        values: (T, axes) in the units of the file after scaling.
        times: (T,) seconds after the first frame.
        payloads: number of payloads of the file.
        late: of these, payloads whose time stamps were not used.
        missing: of these, payloads without a sample of this sensor.
        lost: samples between the first and the last one that the camera counted and the file lacks.
    """

    device: str
    order: str
    values: np.ndarray
    times: np.ndarray
    payloads: int
    late: int = 0
    missing: int = 0
    lost: int = 0


def read_telemetry(path: Path) -> dict[str, SensorTrack]:
    """Accelerometer (``ACCL``, m/s^2) and gyroscope (``GYRO``, rad/s) of one MP4, those that it has, with their times.

    Raises:
        RecordingError: no telemetry, neither sensor in it, other units than these, or a video that is not real time.
    """
    total, parts = payloads(path, ("ACCL", "GYRO", "SHUT"))
    shutter = parts["SHUT"][0] if parts["SHUT"] else None
    tracks: dict[str, SensorTrack] = {}
    for key, (_, unit, _) in _SENSORS.items():
        held = parts[key]
        if not held or sum(len(p.values) for p in held) < 2:
            continue
        axes = {p.values.shape[1] for p in held}
        if held[0].unit != unit or axes != {3}:
            raise RecordingError(
                f"{path}: {key} has {sorted(axes)[0]} axes in {held[0].unit!r}, expected 3 in {unit!r}",
                hint="use the original file of the camera",
            )
        times, late = sample_times(held, shutter, source=f"{path}: {key}")
        values = np.concatenate([p.values for p in held])
        if not np.isfinite(values).all():
            raise RecordingError(f"{path}: {key} has values that are not numbers")
        tracks[key] = SensorTrack(
            device=held[0].device,
            order=axis_order(held[0].device, held[0].title, held[0].axes),
            values=values,
            times=times,
            payloads=total,
            late=late,
            missing=total - len(held),
            lost=_lost(held),
        )
    if not tracks:
        raise RecordingError(
            f"{path}: its telemetry has neither ACCL nor GYRO samples",
            hint="record video in real time: time-lapse modes and some models save no motion",
        )
    return tracks


def _lost(parts: list[Payload]) -> int:
    first, last = parts[0].first_sample, parts[-1].first_sample
    if first is None or last is None:
        return 0
    return max(last - first - sum(len(p.values) for p in parts[:-1]), 0)


def axis_order(device: str, title: str, axes: str) -> str:
    """Camera axes of the columns, or "" if unknown.

    Args:
        device, title: DVNM and STNM of the stream.
        axes: ORIN of the stream.

    Example:
        >>> axis_order("Camera", "Gyroscope (z,x,y)", "")
        'ZXY'
    """
    if axes:
        return axes
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


def sample_times(parts: list[Payload], shutter: Payload | None, *, source: str) -> tuple[np.ndarray, int]:
    """Seconds of every sample after the first frame, and the number of payloads stamped late.

    Args:
        parts: payloads of one sensor in the order of the video.
        shutter: first payload of the exposure times, if there is one.
        source: file and sensor, for error messages.

    Raises:
        RecordingError: the camera's clock and the video run at different speeds, or backwards.
    """
    counts = np.array([len(p.values) for p in parts])
    firsts = (np.cumsum(counts) - counts).astype(np.float64)
    told = np.array([np.nan if p.first_sample is None else p.first_sample for p in parts])
    if np.all(np.diff(told) >= counts[:-1]):  # the camera's own sample count includes lost payloads, so they stay gaps
        firsts = told
    movie = np.array([p.mp4_s for p in parts])
    if all(p.stamp_s is not None for p in parts):
        clock = np.array([p.stamp_s for p in parts], dtype=np.float64)
        zero = None if shutter is None or shutter.stamp_s is None else shutter.stamp_s - shutter.mp4_s
    elif all(p.tick_s is not None for p in parts):
        clock = np.array([p.tick_s for p in parts], dtype=np.float64)
        zero = None if shutter is None or shutter.tick_s is None else shutter.tick_s - shutter.mp4_s
    else:
        clock, zero = movie, 0.0
    _check_real_time(clock, movie, source)
    usual = float(np.median(clock - movie))
    # With pre-roll the first stamps lie many seconds before the movie, and in some files the first stamp is 0.
    if zero is None:
        zero = float(clock[0] - movie[0])
    if abs(zero - usual) > _LARGEST_OFFSET_S:
        zero = usual
    clock = clock - zero
    numbers = np.repeat(firsts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
    if len(parts) == 1:  # a clip of one payload has no second clock value, so its duration is the only information
        length = parts[0].mp4_end_s - parts[0].mp4_s
        times, late = clock[0] + np.arange(counts[0]) * length / counts[0], 0
    else:
        times, late = _on_line(firsts, clock, numbers)
    steps = np.diff(times)
    if np.any(steps <= 0):
        raise RecordingError(f"{source}: the clock of the telemetry runs backwards")
    rate = 1 / float(np.median(steps))
    if not _RATES_HZ[0] <= rate <= _RATES_HZ[1]:
        raise RecordingError(
            f"{source}: {rate:.3g} samples per second of the video, expected {_RATES_HZ[0]:g} .. {_RATES_HZ[1]:g}",
            hint="record video in real time: time-lapse and TimeWarp videos cannot be aligned with the sensors",
        )
    return times, late


def _check_real_time(clock: np.ndarray, movie: np.ndarray, source: str) -> None:
    """Raise an error for a time-lapse: its video runs faster than the clock of the camera."""
    steps = np.diff(movie)
    known = steps > 0
    if not known.any():
        return
    speed = float(np.median(np.diff(clock)[known] / steps[known]))
    if speed < 0:
        raise RecordingError(f"{source}: the clock of the telemetry runs backwards")
    if not _REAL_TIME[0] <= speed <= _REAL_TIME[1]:
        raise RecordingError(
            f"{source}: one second of the video takes {speed:.3g} s of the camera's clock, so it is not in real time",
            hint="record video in real time: time-lapse and TimeWarp videos cannot be aligned with the sensors",
        )


def _on_line(firsts: np.ndarray, clock: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, int]:
    """Times of the sample numbers: on the line through the payloads' clocks, or piecewise if they lie on none."""
    slope, offset = np.polyfit(firsts, clock, 1)
    good = np.abs(offset + slope * firsts - clock) <= _LINE_ERROR_S
    if not good.all() and len(clock) >= 4:
        # The median of the slopes to all other payloads is not moved by a few late ones.
        chosen = np.unique(np.linspace(0, len(clock) - 1, 200).astype(int))
        first, second = np.triu_indices(len(chosen), 1)
        first, second = chosen[first], chosen[second]
        slope = float(np.median((clock[second] - clock[first]) / (firsts[second] - firsts[first])))
        offset = float(np.median(clock - slope * firsts))
        good = np.abs(offset + slope * firsts - clock) <= _LINE_ERROR_S
        if good.mean() >= _ON_LINE and good[-1]:  # samples after the last payload on the line might be really later
            slope, offset = np.polyfit(firsts[good], clock[good], 1)
            return np.asarray(offset + slope * numbers), int(np.count_nonzero(~good))
    if good.all():
        return np.asarray(offset + slope * numbers), 0
    last = numbers[-1] + 1
    return np.interp(numbers, [*firsts, last], [*clock, clock[-1] + slope * (last - firsts[-1])]), 0
