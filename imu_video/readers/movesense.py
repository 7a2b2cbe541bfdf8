"""JSON files of Movesense sensors: recordings of the Showcase app, and records of a stream.

A record holds a batch of samples under one time stamp, in milliseconds since the sensor was started, of its first
sample. Units of the Movesense API: m/s^2 with gravity, deg/s, uT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.files import MAX_BYTES
from imu_video.readers.members import Members, head
from imu_video.readers.sheets import decoded, ordered
from imu_video.registry import readers
from imu_video.runtime.documents import parse_json

_ARRAYS = {"ArrayAcc": ("acc", "m/s^2"), "ArrayGyro": ("gyr", "deg/s"), "ArrayMagn": ("mag", "uT")}
_LONGEST_BATCH_S = 2.0


@readers.register("movesense")
class Movesense(Reader):
    """Movesense sensors: JSON files of the Showcase app, or one record per line.

    Example:
        >>> from imu_video.registry import readers
        >>> readers.build("movesense").formats
        ('.json', '.jsonl', '.txt')
    """

    name = "movesense"
    title = "Movesense (Showcase app)"
    formats = (".json", ".jsonl", ".txt")
    reads = "acceleration, gyroscope, magnetometer, from acc, gyro, magn, imu6 and imu9 records"
    gravity = "included"
    clock = "milliseconds since the sensor was started, of the first sample of a batch: never UTC"
    url = "https://www.movesense.com/docs/esw/api_reference"

    def recognises(self, path: Path) -> str | None:
        if path.suffix.lower() not in self.formats:
            return None
        start = head(path, 8192)
        found = re.search(rb'"(ArrayAcc|ArrayGyro|ArrayMagn)"\s*:\s*\[', start)
        return f"JSON records with {found[1].decode()} and Timestamp" if found and b'"Timestamp"' in start else None

    def read(self, path: Path) -> Reading:
        batches: dict[str, list[tuple[float, np.ndarray]]] = {}
        for record in _records(path):
            for key, (kind, _) in _ARRAYS.items():
                if key in record:
                    batches.setdefault(kind, []).append((_stamp(record, path), _samples(record[key], key, path)))
        if not {"acc", "gyr"} & set(batches):
            raise RecordingError(
                f"{path}: no record with ArrayAcc or ArrayGyro, expected a recording of Movesense",
                hint="record acc, gyro or imu6, and export as JSON",
            )
        notes: list[str] = []
        units = dict(_ARRAYS.values())
        tracks = {
            kind: ordered(_track(found, units[kind], path), where=str(path), notes=notes)
            for kind, found in batches.items()
        }
        zero = min(float(track.times[0]) for track in tracks.values())
        tracks = {k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in tracks.items()}
        device = DeviceReading(name="movesense", tracks=tracks, gravity=True if "acc" in tracks else None)
        return Reading(devices=(device,), tags={"app": "Movesense"}, notes=tuple(notes))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Every object that has a time stamp, however it is nested: ``data`` lists, ``Body``, ``acc``, or lines of JSON."""
    text = decoded(Members(path).read(path.name)).strip("\x00 \n")

    def parsed(part: str, where: str) -> Any:
        return parse_json(
            part, where, error=RecordingError, hint="export the file again", limit=MAX_BYTES, finite=False
        )

    try:
        documents = [parsed(text, str(path))]
    except RecordingError:
        lines = enumerate(text.split("\n"), 1)
        documents = [parsed(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    for document in documents:
        yield from _with_stamp(document, 0)


def _with_stamp(node: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth > 8:
        return
    if isinstance(node, dict):
        if "Timestamp" in node:
            yield node
        else:
            for value in node.values():
                if isinstance(value, dict | list):
                    yield from _with_stamp(value, depth + 1)
    elif isinstance(node, list):
        for value in node:
            yield from _with_stamp(value, depth + 1)


def _stamp(record: dict[str, Any], path: Path) -> float:
    stamp = record["Timestamp"]
    if not isinstance(stamp, int | float) or not np.isfinite(stamp):
        raise RecordingError(f"{path}: Timestamp {str(stamp)[:30]!r}, expected milliseconds")
    return float(stamp) / 1e3


def _samples(rows: Any, key: str, path: Path) -> np.ndarray:
    try:
        values = np.array([[row[axis] for axis in "xyz"] for row in rows], dtype=np.float64).reshape(-1, 3).T
    except (TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
        raise RecordingError(f"{path}: a record of {key} is not a list of x, y, z: {str(rows)[:60]!r}") from error
    values[~np.isfinite(values)] = np.nan
    return values


def _track(batches: list[tuple[float, np.ndarray]], unit: str, path: Path) -> Track:
    """Samples of the batches; a batch is spread over the time to the next one, or over the usual period."""
    batches = [batch for batch in sorted(batches, key=lambda b: b[0]) if batch[1].shape[1]]
    if len(batches) < 2:
        raise RecordingError(f"{path}: {len(batches)} batches of samples, expected at least two")
    stamps = np.array([stamp for stamp, _ in batches])
    counts = np.array([values.shape[1] for _, values in batches])
    steps = np.diff(stamps)
    usual = (steps > 0) & (steps <= _LONGEST_BATCH_S)
    if not usual.any():
        raise RecordingError(f"{path}: time stamps of the batches never advance by less than {_LONGEST_BATCH_S:g} s")
    period = float(np.median(steps[usual] / counts[:-1][usual]))
    # After a lost batch the distance to the next stamp is too long, and a repeated stamp gives none: the usual period.
    own = np.full(len(batches), period)
    fits = usual & (np.abs(steps / counts[:-1] - period) <= 0.5 * period)
    own[:-1][fits] = (steps / counts[:-1])[fits]
    times = np.concatenate([s + np.arange(n) * p for s, n, p in zip(stamps, counts, own, strict=True)])
    return Track(times=times, values=np.concatenate([values for _, values in batches], axis=1), unit=unit)
