"""MCAP files with ``sensor_msgs/Imu`` messages of ROS 1, ROS 2 or JSON; no other messages.

Written from the specification of the format (https://mcap.dev/spec). The file is read from its beginning and not from
its index, so that a file that was cut off is read up to its end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from imu_video.errors import RecordingError
from imu_video.readers import ros
from imu_video.readers.base import Reader, Reading
from imu_video.readers.chunks import LARGEST_CHUNK, unpack
from imu_video.readers.members import head
from imu_video.registry import readers

_MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _END = 3, 4, 5, 6, 15


@readers.register("mcap")
class Mcap(Reader):
    """IMU topics of MCAP files; each topic is a device named after it (``/imu/data`` is ``imu_data``).

    Example:
        >>> readers.build("mcap").formats
        ('.mcap',)
    """

    name = "mcap"
    title = "MCAP (ROS 1, ROS 2, Foxglove)"
    formats = (".mcap",)
    reads = "acceleration and angular rate of sensor_msgs/Imu"
    gravity = "the file does not say (REP 145: included)"
    clock = "header.stamp of the first message; UTC if the stamps are"
    url = "https://mcap.dev/spec"
    extra = "readers"
    packages = ("lz4", "zstandard")

    def read(self, path: Path) -> Reading:
        """All messages up to the end or the first damaged record."""
        content = _Content()
        try:
            with path.open("rb") as file:
                begin = file.read(len(_MAGIC))
                if begin != _MAGIC:
                    raise RecordingError(f"{path}: not an MCAP file: it begins with {begin!r}, expected {_MAGIC!r}")
                complete = content.take(_records(file, path.stat().st_size))
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
        notes = []
        if content.damaged:
            notes.append(f"{content.damaged} of {content.chunks} chunks damaged: skipped")
        if not complete:
            notes.append("the end of the file is missing: it was cut off, or the recording was not closed")
        return ros.reading(content.topics, notes, path, others=content.others)

    def recognises(self, path: Path) -> str | None:
        """The magic bytes of the format."""
        return "begins with the magic bytes of MCAP" if head(path, 8) == _MAGIC else None


def _records(file: BinaryIO, left: int) -> Iterator[tuple[int, bytes]]:
    """Opcode and content of each record, up to the first that does not fit in what is left of the file."""
    left -= len(_MAGIC)
    while len(start := file.read(9)) == 9:
        opcode, length = struct.unpack("<BQ", start)
        left -= 9 + length
        if left < 0 or length > LARGEST_CHUNK:
            return
        yield opcode, file.read(length)


class _Content:
    """Topics with IMU messages, filled record by record."""

    def __init__(self) -> None:
        self.topics: dict[str, ros.Topic] = {}
        self.chunks = self.damaged = 0
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[ros.Topic, Callable[[bytes], ros.Row]] | None] = {}

    @property
    def others(self) -> int:
        return sum(channel is None for channel in self._channels.values())

    def take(self, records: Iterator[tuple[int, bytes]]) -> bool:
        """All records; returns whether the end of the data was reached."""
        for opcode, data in records:
            if opcode == _END:
                return True
            if opcode == _CHUNK:
                self.chunks += 1
                try:
                    inner = _chunk(data)
                except (struct.error, ValueError):
                    self.damaged += 1
                    continue
                for part in _parts(inner):
                    self._one(*part)
            else:
                self._one(opcode, data)
        return False

    def _one(self, opcode: int, data: bytes) -> None:
        try:
            if opcode == _MESSAGE:
                channel, _, logged, _ = struct.unpack_from("<HIQQ", data)
                if (held := self._channels.get(channel)) is not None:
                    held[0].add(held[1], data[22:], logged / 1e9)
            elif opcode == _SCHEMA:
                (number,) = struct.unpack_from("<H", data)
                self._schemas[number] = _string(data, 2)[0]
            elif opcode == _CHANNEL:
                number, schema = struct.unpack_from("<HH", data)
                topic, place = _string(data, 4)
                decode = ros.DECODERS.get(_string(data, place)[0])
                known = self._schemas.get(schema) in ros.IMU_TYPES and decode is not None
                self._channels[number] = (
                    (self.topics.setdefault(topic, ros.Topic()), decode) if known and decode is not None else None
                )
        except (struct.error, ValueError):
            self.damaged += 1


def _chunk(data: bytes) -> bytes:
    _, _, size, crc = struct.unpack_from("<QQQI", data)
    method, place = _string(data, 28)
    (length,) = struct.unpack_from("<Q", data, place)
    packed = data[place + 8 : place + 8 + length]
    found = unpack(packed, method=method, size=size, reader="mcap")
    if crc and zlib.crc32(found) != crc:
        raise ValueError("checksum")
    return found


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 9 <= len(data):
        opcode, length = struct.unpack_from("<BQ", data, place)
        if place + 9 + length > len(data):
            return
        yield opcode, data[place + 9 : place + 9 + length]
        place += 9 + length


def _string(data: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, place)
    end = place + 4 + length
    if end > len(data):
        raise ValueError("a text longer than its record")
    return data[place + 4 : end].decode("utf-8"), end
