"""Empatica: acceleration of an E4 session (ZIP or ACC.csv), acceleration and angular rate of an EmbracePlus (.avro).

Written from Empatica's descriptions of the two exports. Other signals (EDA, BVP, temperature) are not motion and are
left out. The E4 marks events by a button: their times are counted in a note, since a mark has no length and no name.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.files import finite, read_bytes, whole_lines
from imu_video.readers.members import Members, head, names_in
from imu_video.readers.tables import numbers_between
from imu_video.registry import readers

_E4_STEP = 1 / 64
"""Steps of the E4 in g."""
_LARGEST = 1 << 30
"""Most bytes that the blocks of an Avro file may have together once unpacked."""
_MICRO = 1e6


@readers.register("empatica_e4")
class EmpaticaE4(Reader):
    """Sessions of the Empatica E4 wristband: the ZIP file of the portal, its folder, or ACC.csv.

    Example:
        >>> readers.build("empatica_e4").formats
        ('.zip', '/', '.csv')
    """

    name = "empatica_e4"
    title = "Empatica E4"
    formats = (".zip", "/", ".csv")
    reads = "acceleration"
    gravity = "included (accelerometer without filter)"
    clock = "first sample; UTC"
    url = "https://support.empatica.com"

    def read(self, path: Path) -> Reading:
        """ACC.csv of the session."""
        members = Members(path)
        name = members.find("ACC.csv") if len(members.names) != 1 else members.names[0]
        if name is None:
            raise RecordingError(
                f"{path}: no ACC.csv in it, so it is not a session of an E4",
                hint="download the session from the portal as ZIP",
            )
        where = Path(members.where(name))
        content, notes = whole_lines(members.read(name))
        text = content.decode("utf-8-sig", errors="replace").splitlines()
        rows = numbers_between(text, 3, path=where, separator=",")
        if len(rows) < 4:
            raise RecordingError(f"{where}: {len(rows)} rows, expected start, rate and samples")
        start, rate = float(rows[0, 0]), float(rows[1, 0])
        if not (rows[:2] == rows[:2, :1]).all() or not 1e9 < start < 1e10 or not 1 <= rate <= 1000:
            raise RecordingError(
                f"{where}: lines 1 and 2 are {rows[0].tolist()} and {rows[1].tolist()}, expected the start in POSIX "
                "seconds and the rate in Hz, three times each",
                hint="use ACC.csv as the portal wrote it",
            )
        samples = rows[2:]
        if np.any(samples != np.round(samples)) or np.abs(samples).max() > 256:
            raise RecordingError(
                f"{where}: values that are not whole steps of 1/64 g within 256",
                hint="use ACC.csv as the portal wrote it",
            )
        marks = members.find("tags.csv")
        count = len(members.read(marks).split()) if marks is not None else 0
        track = Track(times=np.arange(len(samples)) / rate, values=samples.T * _E4_STEP, unit="g")
        device = DeviceReading(name="e4", tracks={"acc": track}, gravity=True, tags={"range": "2 g"})
        return Reading(
            devices=(device,),
            notes=(*notes, *([f"{count} marks of the button in tags.csv: not read"] if count else [])),
            tags={"device": "Empatica E4"},
            start_utc=start,
        )

    def recognises(self, path: Path) -> str | None:
        """ACC.csv beside other signals of the wristband, or its first two lines."""
        if path.is_dir() or head(path, 2) == b"PK":
            ends = {name.rsplit("/", 1)[-1] for name in names_in(path)}
            return "contains ACC.csv, BVP.csv and EDA.csv" if {"ACC.csv", "BVP.csv", "EDA.csv"} <= ends else None
        lines = head(path, 512).decode("ascii", errors="replace").splitlines()[:2]
        parts = [line.split(",") for line in lines]
        alike = len(parts) == 2 and all(len(p) == 3 and len({x.strip() for x in p}) == 1 for p in parts)
        return "lines 1 and 2 repeat start and rate three times" if alike and path.suffix.lower() == ".csv" else None


@readers.register("empatica_embrace")
class EmpaticaEmbrace(Reader):
    """Raw data of the Empatica EmbracePlus: one .avro file of some minutes.

    Example:
        >>> readers.build("empatica_embrace").formats
        ('.avro',)
    """

    name = "empatica_embrace"
    title = "Empatica EmbracePlus"
    formats = (".avro",)
    reads = "acceleration; angular rate where the study records it"
    gravity = "included (accelerometer without filter)"
    clock = "first sample; UTC"
    url = "https://support.empatica.com/hc/en-us/articles/17727336158365-Raw-data-in-the-Empatica-Cloud"
    extra = "readers"
    packages = ("fastavro",)

    def read(self, path: Path) -> Reading:
        """All records of the file."""
        records = _avro(read_bytes(path), path)
        tracks: dict[str, Track] = {}
        for key, (kind, unit) in {"accelerometer": ("acc", "g"), "gyroscope": ("gyr", "deg/s")}.items():
            parts = [part for record in records if (part := _part(record, key, path)) is not None]
            if parts:
                times = np.concatenate([t for t, _ in parts])
                values = np.concatenate([v for _, v in parts], axis=1)
                tracks[kind] = Track(times=times, values=values, unit=unit)
        if not tracks:
            raise RecordingError(f"{path}: no sample of the accelerometer or the gyroscope in {len(records)} records")
        zero = min(float(t.times[0]) for t in tracks.values())
        for kind, track in tracks.items():
            if np.any(np.diff(track.times) <= 0):
                raise RecordingError(f"{path}: the times of {kind} run backwards between two records")
            tracks[kind] = Track(times=track.times - zero, values=track.values, unit=track.unit)
        tags = {"device": "Empatica EmbracePlus"}
        zone = records[0].get("timezone")
        if isinstance(zone, int):
            tags["time_zone"] = f"UTC{zone / 3600:+.2f} h"
        device = DeviceReading(name="embraceplus", tracks=tracks, gravity=True)
        return Reading(devices=(device,), tags=tags, start_utc=zero)

    def recognises(self, path: Path) -> str | None:
        """The mark of Avro and the names of the signals in its schema."""
        begin = head(path, 8192)
        known = begin.startswith(b"Obj\x01") and b"rawData" in begin and b"accelerometer" in begin
        return "Avro file whose schema has rawData and accelerometer" if known else None


def _avro(data: bytes, path: Path) -> list[dict[str, Any]]:
    try:
        import fastavro
    except ImportError as error:
        raise ConfigError(
            f"the reader empatica_embrace needs the package fastavro ({error})", hint="pip install 'imu-video[readers]'"
        ) from error
    if not data.startswith(b"Obj\x01"):
        raise RecordingError(
            f"{path}: not an Avro file: it begins with {data[:4]!r}, expected b'Obj\\x01'",
            hint="use the .avro file of the study's raw data",
        )
    records: list[dict[str, Any]] = []
    try:
        _check_blocks(data)
        for record in fastavro.reader(io.BytesIO(data)):
            records.append(record if isinstance(record, dict) else {})
    # The decoder raises errors of a dozen kinds on damaged bytes, some of them its own; none says more than this.
    except Exception as error:
        raise RecordingError(
            f"{path}: damaged after {len(records)} records ({type(error).__name__}: {error})",
            hint="copy the file again",
        ) from error
    if not records:
        raise RecordingError(f"{path}: no records")
    return records


def _check_blocks(data: bytes) -> None:
    """Walk over the blocks of an Avro container, so that none is unpacked without a limit.

    Raises:
        ValueError: another codec than null and deflate, more than 1 GiB unpacked, or a damaged container.
    """
    file = io.BytesIO(data)
    file.seek(4)
    codec = b"null"
    while count := _long(file):
        if count < 0:  # then the size of the pairs in bytes follows
            _long(file)
        for _ in range(min(abs(count), len(data))):
            key, value = _bytes(file), _bytes(file)
            if key == b"avro.codec":
                codec = value
    if codec not in (b"null", b"deflate"):
        raise ValueError(f"codec {codec!r}, expected null or deflate")
    mark = file.read(16)
    left = _LARGEST
    while file.tell() < len(data):
        count, block = _long(file), _bytes(file)
        if file.read(16) != mark:
            raise ValueError("the mark between two blocks is missing")
        size = len(block)
        if codec == b"deflate":
            unpacker, size = zlib.decompressobj(-15), 0
            while block and not unpacker.eof and size <= left:
                part = unpacker.decompress(block, 1 << 20)
                size, block = size + len(part), unpacker.unconsumed_tail
        left -= size
        if left < 0 or not 0 <= count <= size:
            raise ValueError(f"{count} records in {size} bytes, or more than {_LARGEST} bytes unpacked")


def _long(file: io.BytesIO) -> int:
    """A number in Avro's encoding: seven bits per byte, the sign in the lowest bit."""
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends inside a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return (value >> 1) ^ -(value & 1)
    raise ValueError("a number of more than 64 bits")


def _bytes(file: io.BytesIO) -> bytes:
    size = _long(file)
    found = file.read(size) if size >= 0 else b""
    if len(found) != size:
        raise ValueError("the file ends inside a block")
    return found


def _part(record: Mapping[str, Any], key: str, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Times and values of a sensor in one record; None without samples."""
    signal = (record.get("rawData") or {}).get(key)
    try:
        if not signal or not len(signal["x"]):
            return None
        counts = np.array([signal[axis] for axis in "xyz"], dtype=np.float64)
        start, rate = float(signal["timestampStart"]) / _MICRO, float(signal["samplingFrequency"])
        imu = signal["imuParams"]
        physical = float(imu["physicalMax"]) - float(imu["physicalMin"])
        digital = float(imu["digitalMax"]) - float(imu["digitalMin"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"{path}: rawData.{key} is incomplete ({type(error).__name__}: {error})") from error
    if counts.ndim != 2 or not 1 <= rate <= 10_000 or not 0 < start < 1e10 or not physical > 0 or not digital > 0:
        raise RecordingError(
            f"{path}: rawData.{key} starts at {start:g} s with {rate:g} Hz and a range of {physical:g} in {digital:g} "
            "steps, expected a POSIX time, a rate and ranges greater than 0"
        )
    return start + np.arange(counts.shape[1]) / rate, finite(counts * physical / digital)
