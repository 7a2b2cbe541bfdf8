"""Bags of ROS 1 (.bag) and ROS 2 (SQLite .db3, or the folder of a bag) with ``sensor_msgs/Imu`` messages.

Written from the descriptions of bag format 2.0 (wiki.ros.org/Bags/Format/2.0) and of the storage of rosbag2. A ROS 1
bag is read from its beginning and not from its index, so that a bag that was not closed is read up to its end.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from imu_video.errors import RecordingError
from imu_video.readers import ros
from imu_video.readers.base import Reader, Reading
from imu_video.readers.chunks import LARGEST_CHUNK, unpack
from imu_video.readers.mcap import Mcap
from imu_video.readers.members import head
from imu_video.registry import readers

_MAGIC = b"#ROSBAG V2.0\n"
_SQLITE = b"SQLite format 3\0"
_MESSAGE, _CHUNK, _CONNECTION = 2, 5, 7


@readers.register("rosbag")
class Rosbag(Reader):
    """IMU topics of ROS 1 bags and of ROS 2 bags; each topic is a device named after it.

    The folder of a ROS 2 bag may hold one .db3 or one .mcap file; several parts of one bag are given one by one.

    Example:
        >>> readers.build("rosbag").formats
        ('.bag', '.db3', '/')
    """

    name = "rosbag"
    title = "ROS 1 and ROS 2 bags"
    formats = (".bag", ".db3", "/")
    reads = "acceleration and angular rate of sensor_msgs/Imu"
    gravity = "the file does not say (REP 145: included)"
    clock = "header.stamp of the first message; UTC if the stamps are"
    url = "https://wiki.ros.org/Bags/Format/2.0"
    extra = "readers"
    packages = ("lz4", "zstandard")

    def read(self, path: Path) -> Reading:
        """All messages up to the end or the first damaged record."""
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix in (".db3", ".mcap"))
            if len(found) != 1:
                raise RecordingError(
                    f"{path}: {len(found)} files .db3 or .mcap in this folder, expected 1",
                    hint="declare the parts of the bag as recordings of their own",
                )
            path = found[0]
        if path.suffix == ".mcap":
            return Mcap().read(path)
        begin = head(path, 16)
        if begin.startswith(_MAGIC):
            return _bag(path)
        if begin.startswith(_SQLITE):
            return _database(path)
        raise RecordingError(
            f"{path}: " + (f"not a bag: it begins with {begin!r}" if begin else "no such file, or it is empty"),
            hint="bags of ROS 1 before format 2.0 are converted by `rosbag migrate`",
        )

    def recognises(self, path: Path) -> str | None:
        """The first line of a ROS 1 bag, the tables of a ROS 2 bag, or metadata.yaml of its folder."""
        if path.is_dir():
            try:
                parts = [p for p in path.iterdir() if p.suffix in (".db3", ".mcap")]
            except OSError:
                return None
            there = (path / "metadata.yaml").is_file() and len(parts) == 1
            return f"folder with metadata.yaml and {parts[0].name}" if there else None
        begin = head(path, 4096)
        if begin.startswith(_MAGIC):
            return "begins with #ROSBAG V2.0"
        bag2 = begin.startswith(_SQLITE) and b"serialization_format" in begin
        return "SQLite tables of a ROS 2 bag" if bag2 else None


# --------------------------------------------------------------------------------------------------------------- ROS 1


def _bag(path: Path) -> Reading:
    topics: dict[str, ros.Topic] = {}
    connections: dict[int, ros.Topic | None] = {}
    chunks = damaged = 0

    def one(fields: dict[str, bytes], data: bytes) -> None:
        operation = fields["op"][0]
        if operation == _CONNECTION:
            number = struct.unpack("<I", fields["conn"])[0]
            kind = _fields(data).get("type", b"").decode("utf-8", errors="replace")
            topic = fields["topic"].decode("utf-8", errors="replace")
            # A connection is written again in the index; both are the same.
            held = topics.setdefault(topic, ros.Topic()) if kind in ros.IMU_TYPES else None
            connections[number] = held
        elif operation == _MESSAGE:
            held = connections.get(struct.unpack("<I", fields["conn"])[0])
            if held is not None:
                seconds, nanoseconds = struct.unpack("<II", fields["time"])
                held.add(ros.from_ros1, data, seconds + nanoseconds / 1e9)

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(len(_MAGIC))
            records = _Records(file, size - len(_MAGIC))
            for fields, data in records:
                try:
                    if fields["op"][0] == _CHUNK:
                        chunks += 1
                        stated = struct.unpack("<I", fields["size"])[0]
                        method = fields["compression"].decode("ascii")
                        for inner in _inner(unpack(data, method=method, size=stated, reader="rosbag")):
                            one(*inner)
                    else:
                        one(fields, data)
                except (struct.error, ValueError, KeyError, IndexError):
                    damaged += 1
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    notes = [f"{damaged} records damaged ({chunks} chunks): skipped"] if damaged else []
    if records.rest:
        notes.append(f"the last {records.rest} bytes are not a complete record: the bag was cut off")
    return ros.reading(topics, notes, path, others=sum(held is None for held in connections.values()))


class _Records:
    """Records of an open bag one by one; ``rest`` is what remains after the last complete one."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self._file, self.rest = file, left

    def __iter__(self) -> Iterator[tuple[dict[str, bytes], bytes]]:
        while self.rest >= 8:
            parts, used = [], 0
            for _ in range(2):
                word = self._file.read(4)
                length = struct.unpack("<I", word)[0] if len(word) == 4 else self.rest
                used += 4 + length
                if used > self.rest or length > LARGEST_CHUNK:
                    return
                parts.append(self._file.read(length))
            self.rest -= used
            yield _fields(parts[0]), parts[1]


def _inner(data: bytes) -> Iterator[tuple[dict[str, bytes], bytes]]:
    place = 0
    while place < len(data):
        parts = []
        for _ in range(2):
            (length,) = struct.unpack_from("<I", data, place)
            if place + 4 + length > len(data):
                raise ValueError("a record longer than its chunk")
            parts.append(data[place + 4 : place + 4 + length])
            place += 4 + length
        yield _fields(parts[0]), parts[1]


def _fields(data: bytes) -> dict[str, bytes]:
    """Fields ``name=value`` of a header; those after damage are left out."""
    found = {}
    place = 0
    while place + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, place)
        name, mark, value = data[place + 4 : place + 4 + length].partition(b"=")
        if not mark:
            break
        found[name.decode("ascii", errors="replace")] = value
        place += 4 + length
    return found


# --------------------------------------------------------------------------------------------------------------- ROS 2


def _database(path: Path) -> Reading:
    topics: dict[str, ros.Topic] = {}
    others = 0
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as base:
            for number, name, kind, encoding in base.execute("SELECT id, name, type, serialization_format FROM topics"):
                decode = ros.DECODERS.get(str(encoding))
                if kind not in ros.IMU_TYPES or decode is None:
                    others += 1
                    continue
                topic = topics.setdefault(str(name), ros.Topic())
                rows = base.execute(
                    "SELECT timestamp, data FROM messages WHERE topic_id = ? ORDER BY timestamp, id", (number,)
                )
                for logged, data in rows:
                    topic.add(decode, data if isinstance(data, bytes) else b"", float(logged) / 1e9)
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        raise RecordingError(
            f"{path}: not a complete ROS 2 bag ({error})",
            hint="copy the bag again; `ros2 bag reindex` repairs its metadata",
        ) from error
    return ros.reading(topics, [], path, others=others)
