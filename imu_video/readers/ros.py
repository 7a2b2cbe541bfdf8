"""Messages ``sensor_msgs/Imu`` of ROS 1 and ROS 2 as devices; no containers (bag, MCAP)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import DataError, RecordingError
from imu_video.readers.base import DeviceReading, Reading, Track
from imu_video.readers.files import finite
from imu_video.runtime import documents

IMU_TYPES = {"sensor_msgs/Imu", "sensor_msgs/msg/Imu"}
_EARLIEST_UTC = 1e9  # stamps before 2001 count from the start of a computer or of a simulation

Row = tuple[float, tuple[float, ...], tuple[float, ...], bool, bool]
"""Stamp in seconds, acceleration, angular rate, and whether each of them is measured."""


@dataclass(kw_only=True)
class Topic:
    """Messages of one topic, in the order of the file."""

    rows: list[Row] = field(default_factory=list)
    logged: list[float] = field(default_factory=list)
    damaged: int = 0

    def add(self, decode: Callable[[bytes], Row], data: bytes, logged_s: float) -> None:
        """Decode one message; one that cannot be decoded is counted."""
        try:
            self.rows.append(decode(data))
            self.logged.append(logged_s)
        except (struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            self.damaged += 1


def from_ros1(data: bytes) -> Row:
    """An Imu message in the serialisation of ROS 1: little endian, packed."""
    _, seconds, nanoseconds, length = struct.unpack_from("<IIII", data)
    return _row(seconds + nanoseconds / 1e9, struct.unpack_from("<37d", data, 16 + length))


def from_cdr(data: bytes) -> Row:
    """An Imu message in CDR (ROS 2): numbers are aligned from the end of the four bytes of the header on."""
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, 4)
    place = 12 + length
    return _row(seconds + nanoseconds / 1e9, struct.unpack_from(f"{order}37d", data, 4 + place + -place % 8))


def from_json(data: bytes) -> Row:
    """An Imu message as JSON with the field names of ROS."""
    try:
        message: Any = documents.parse_json(data, "message", finite=False)
    except DataError as error:
        raise ValueError(error.message) from error
    stamp = message.get("header", message)["stamp"]
    seconds = float(stamp.get("sec", stamp.get("secs", 0))) + float(stamp.get("nanosec", stamp.get("nsec", 0))) / 1e9

    def part(name: str) -> tuple[float, ...]:
        return tuple(float(message[name][axis]) for axis in "xyz")

    def unknown(name: str) -> bool:
        covariance = message.get(f"{name}_covariance") or [0.0]
        return bool(covariance[0] == -1)

    return (
        seconds,
        part("linear_acceleration"),
        part("angular_velocity"),
        not unknown("linear_acceleration"),
        not unknown("angular_velocity"),
    )


DECODERS: dict[str, Callable[[bytes], Row]] = {"ros1": from_ros1, "cdr": from_cdr, "json": from_json}
"""Decoders by the name of the encoding in MCAP."""


def _row(seconds: float, numbers: tuple[float, ...]) -> Row:
    # Orientation (4) and its covariance (9), angular rate (3) and its (9), acceleration (3) and its (9); a first
    # element of -1 in a covariance says that the quantity is not measured.
    return seconds, numbers[25:28], numbers[13:16], numbers[28] != -1, numbers[16] != -1


def reading(topics: dict[str, Topic], notes: list[str], path: Path, *, others: int) -> Reading:
    """One device per topic.

    Args:
        topics: messages by topic.
        notes: of the container; extended by those of the messages.
        path: file, for error messages.
        others: topics with messages of other types.

    Raises:
        RecordingError: no topic with IMU messages.
    """
    found: dict[str, tuple[dict[str, Track], str]] = {}
    for topic, messages in sorted(topics.items()):
        if messages.damaged:
            notes.append(f"{topic}: {messages.damaged} messages cannot be decoded: skipped")
        if len(messages.rows) < 2:
            continue
        stamps = np.array([row[0] for row in messages.rows])
        clock = "header.stamp"
        if not np.all(stamps > 0):
            stamps, clock = np.array(messages.logged), "time of recording"
        tracks, faults = {}, 0
        for kind, unit, values, measured in (("acc", "m/s^2", 1, 3), ("gyr", "rad/s", 2, 4)):
            if all(row[measured] for row in messages.rows):
                sensor = Track(
                    times=stamps, values=finite(np.array([row[values] for row in messages.rows]).T), unit=unit
                )
                if np.isfinite(sensor.values).any():
                    tracks[kind], faults = sensor.in_order()
        tracks = {kind: track for kind, track in tracks.items() if len(track.times) > 1}
        if not tracks:
            continue
        if faults:
            notes.append(f"{topic}: {faults} messages out of order or repeated: sorted or dropped")
        name = re.sub(r"[^a-z0-9]+", "_", topic.lower()).strip("_") or "imu"
        while name in found:
            name += "_2"
        found[name] = (tracks, clock)
    if not found:
        raise RecordingError(
            f"{path}: no topic with two or more messages sensor_msgs/Imu ({others} topics of other types)",
            hint="record the topic of the IMU: /imu/data or /imu/data_raw",
        )
    zero = min(float(t.times[0]) for tracks, _ in found.values() for t in tracks.values())
    devices = tuple(
        DeviceReading(
            name=name,
            tracks={k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in tracks.items()},
            tags={"clock": clock},
        )
        for name, (tracks, clock) in found.items()
    )
    return Reading(devices=devices, notes=tuple(notes), start_utc=zero if zero > _EARLIEST_UTC else None)
