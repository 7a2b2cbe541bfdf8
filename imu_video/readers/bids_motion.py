"""BIDS-Motion: one tracking system of a recording (``*_motion.tsv`` with its channels, sidecar, scans and events).

Written from the Brain Imaging Data Structure, version 1.9 and later (motion). `bids_export` writes such datasets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.files import finite, read_bytes, whole_lines
from imu_video.readers.tables import Table, iso_seconds
from imu_video.readers.unit_names import unit_named
from imu_video.registry import readers
from imu_video.runtime.documents import parse_json
from imu_video.types import Segment

_MOTION = "_motion.tsv"
_TYPES = {"ACCEL": "acc", "GYRO": "gyr", "MAGN": "mag"}
_LARGEST_SIDECAR = 1 << 24


@readers.register("bids_motion")
class BidsMotion(Reader):
    """Motion of a BIDS dataset; each tracked point with an accelerometer or a gyroscope is a device.

    Positions, orientations and joint angles are not read.

    Args:
        events: whether ``*_events.tsv`` gives the labels: ``trial_type`` from ``onset`` for ``duration``.

    Example:
        >>> readers.build("bids_motion").formats
        ('.tsv',)
    """

    name = "bids_motion"
    title = "BIDS-Motion (*_motion.tsv)"
    formats = (".tsv",)
    reads = "ACCEL, GYRO and MAGN channels, LATENCY, events as labels"
    gravity = "the file does not say, unless `imu-video export-bids` wrote it"
    clock = "first sample; acq_time of scans.tsv, read as UTC without a zone"
    url = "https://bids-specification.readthedocs.io/en/stable/modality-specific-files/motion.html"

    def __init__(self, *, events: bool = True) -> None:
        self.events = events

    def files(self, path: Path) -> tuple[Path, ...]:
        """The table and the files beside and above it that describe it."""
        found = {path, *(p for p in (_find(path, "channels.tsv"), *_sidecars(path)) if p is not None)}
        found |= {p for p in (_scans(path), _events(path) if self.events else None) if p is not None}
        return tuple(sorted(found))

    def read(self, path: Path) -> Reading:
        """The channels of one ``*_motion.tsv``."""
        if not path.name.endswith(_MOTION):
            raise RecordingError(
                f"{path}: expected a file *_motion.tsv of a BIDS dataset", hint="declare files: '**/*_motion.tsv'"
            )
        channels = _channels(path)
        sidecar = _sidecar(path)
        content, notes = whole_lines(read_bytes(path))
        content = content.replace(b"n/a", b"")
        names = [f"column {i + 1}" for i in range(len(channels))]
        table = Table(path, names, header=names, delimiter="\t", content=content)
        times = _times(table, names, channels, sidecar, path)
        devices = _devices(table, names, channels, times, sidecar, path)
        start = _start(path)
        tags = {"task": str(sidecar["TaskName"])} if "TaskName" in sidecar else {}
        segments = _segments(path) if self.events else ()
        return Reading(devices=devices, segments=segments, tags=tags, notes=notes, start_utc=start)

    def recognises(self, path: Path) -> str | None:
        """The name of the file, and the table of its channels."""
        if not path.name.endswith(_MOTION) or not path.is_file():
            return None
        try:
            found = _find(path, "channels.tsv")
        except OSError:
            return None
        return f"*_motion.tsv with {found.name}" if found is not None else None


# --------------------------------------------------------------------------------------------- the files of a recording


def _entities(name: str) -> dict[str, str]:
    """Pairs ``key-value`` of a file name.

    Example:
        >>> _entities("sub-01_task-walk_tracksys-imu_motion.tsv")
        {'sub': '01', 'task': 'walk', 'tracksys': 'imu'}
    """
    pairs = (part.split("-", 1) for part in name.split(".")[0].split("_") if "-" in part)
    return {pair[0]: pair[1] for pair in pairs}


def _folders(path: Path) -> Iterator[Path]:
    """The folder of a file and those above it, up to the root of the dataset."""
    for folder in path.parents:
        yield folder
        if (folder / "dataset_description.json").is_file() or not re.match(r"(sub|ses)-|motion$", folder.name):
            return


def _inherited(path: Path, suffix: str) -> list[Path]:
    """Files that apply to this one by the inheritance principle, the closest first."""
    own = _entities(path.name)
    found = []
    for folder in _folders(path):
        level = [p for p in folder.glob(f"*{suffix}") if p.name == suffix or p.name.endswith(f"_{suffix}")]
        fit = [p for p in level if _entities(p.name).items() <= own.items()]
        found += sorted(fit, key=lambda p: (-len(_entities(p.name)), p.name))
    return found


def _find(path: Path, suffix: str) -> Path | None:
    return next(iter(_inherited(path, suffix)), None)


def _sidecars(path: Path) -> list[Path]:
    return _inherited(path, "motion.json")


def _events(path: Path) -> Path | None:
    return _find(path, "events.tsv")


def _scans(path: Path) -> Path | None:
    return next((p for folder in _folders(path) for p in sorted(folder.glob("*_scans.tsv"))), None)


def _sidecar(path: Path) -> dict[str, Any]:
    """Keys of the sidecars; a closer one wins."""
    merged: dict[str, Any] = {}
    for file in reversed(_sidecars(path)):
        content = parse_json(read_bytes(file, limit=_LARGEST_SIDECAR), str(file), error=RecordingError, finite=False)
        if not isinstance(content, dict):
            raise RecordingError(f"{file}: {type(content).__name__}, expected an object with keys")
        merged |= content
    return merged


def _rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a small table with a header, as texts."""
    lines = read_bytes(path, limit=_LARGEST_SIDECAR).decode("utf-8-sig", errors="replace").splitlines()
    header = [name.strip() for name in lines[0].split("\t")] if lines else []
    for name in needed:
        if name not in header:
            raise RecordingError(f"{path}, line 1: no column {name!r}; it has {', '.join(header) or 'none'}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != len(header):
            raise RecordingError(f"{path}, line {number}: {len(fields)} fields, expected {len(header)}")
        rows.append({name: field.strip() for name, field in zip(header, fields, strict=True)})
    return rows


def _channels(path: Path) -> list[dict[str, str]]:
    file = _find(path, "channels.tsv")
    if file is None:
        raise RecordingError(
            f"{path}: no *_channels.tsv beside it, so its columns have no names",
            hint=f"expected {path.name[: -len(_MOTION)]}_channels.tsv",
        )
    rows = _rows(file, ("name", "component", "type", "tracked_point", "units"))
    if not rows:
        raise RecordingError(f"{file}: no channel")
    return rows


# ----------------------------------------------------------------------------------------------- values and their times


def _times(
    table: Table, names: list[str], channels: list[dict[str, str]], sidecar: dict[str, Any], path: Path
) -> np.ndarray:
    latency = next((i for i, c in enumerate(channels) if c["type"].upper() == "LATENCY"), None)
    if latency is not None:
        return table.increasing_seconds(names[latency], "s")
    for key in ("SamplingFrequencyEffective", "SamplingFrequency"):
        rate = sidecar.get(key)
        if isinstance(rate, int | float) and math.isfinite(rate) and 0 < rate <= 1e5:
            if len(table) < 2:
                raise RecordingError(f"{path}: number of samples is {len(table)}, expected at least 2")
            return np.arange(len(table)) / rate
    raise RecordingError(
        f"{path}: neither a LATENCY channel nor a SamplingFrequency greater than 0 in its *_motion.json",
        hint="add SamplingFrequency to the sidecar",
    )


def _devices(
    table: Table,
    names: list[str],
    channels: list[dict[str, str]],
    times: np.ndarray,
    sidecar: dict[str, Any],
    path: Path,
) -> tuple[DeviceReading, ...]:
    points: dict[str, dict[str, dict[str, int]]] = {}
    for index, channel in enumerate(channels):
        kind, axis = _TYPES.get(channel["type"].upper()), channel["component"].lower()
        if kind is not None and axis in ("x", "y", "z"):
            point = re.sub(r"[^a-z0-9]+", "_", _words(channel["tracked_point"])).strip("_") or "imu"
            axes = points.setdefault(point, {}).setdefault(kind, {})
            if axis in axes:
                raise RecordingError(f"{path}: two channels {channel['type']} {axis} of {channel['tracked_point']!r}")
            axes[axis] = index
    removed = sidecar.get("GravityRemoved")
    devices = []
    for point, kinds in points.items():
        tracks = {}
        for kind, axes in kinds.items():
            if len(axes) != 3:
                raise RecordingError(f"{path}: {kind} of {point!r} has the axes {', '.join(axes)}, expected x, y and z")
            columns = [axes[axis] for axis in "xyz"]
            units = {channels[i]["units"] for i in columns}
            read = unit_named(next(iter(units)), kind) if len(units) == 1 else None
            if read is None:
                raise RecordingError(
                    f"{path}: unit of {kind} of {point!r} is {', '.join(sorted(units))}, expected one known for {kind}",
                    hint="correct the column units of *_channels.tsv: m/s^2, g, rad/s, deg/s, uT",
                )
            values = finite(np.stack([table.numbers(names[i]) for i in columns]) * read[1])
            if np.isfinite(values).any():
                tracks[kind] = Track(times=times, values=values, unit=read[0])
        if "acc" in tracks or "gyr" in tracks:
            gravity = not removed if isinstance(removed, bool) else None
            devices.append(DeviceReading(name=point, tracks=tracks, gravity=gravity))
    if not devices:
        raise RecordingError(
            f"{path}: no ACCEL or GYRO channel with values; its types are "
            f"{', '.join(sorted({c['type'] for c in channels}))}",
            hint="declare the tracking system of the inertial sensors: files: '**/*_tracksys-imu*_motion.tsv'",
        )
    return tuple(devices)


def _words(text: str) -> str:
    """Lower case with a space before what was an upper-case letter: ``LeftFoot`` becomes ``left foot``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower()


def _start(path: Path) -> float | None:
    scans = _scans(path)
    if scans is None:
        return None
    for row in _rows(scans, ("filename",)):
        if row["filename"].endswith(path.name) and row.get("acq_time", "n/a") not in ("n/a", ""):
            start = float(iso_seconds([row["acq_time"]])[0])
            if not math.isfinite(start):
                raise RecordingError(f"{scans}: acq_time of {path.name} is {row['acq_time']!r}, expected ISO 8601")
            return start
    return None


def _segments(path: Path) -> tuple[Segment, ...]:
    """Events with a length; onsets count from the first sample."""
    file = _events(path)
    if file is None:
        return ()
    segments = []
    for number, row in enumerate(_rows(file, ("onset", "duration")), start=2):
        if row["duration"] in ("n/a", "", "0", "0.0"):
            continue
        try:
            onset, duration = float(row["onset"]), float(row["duration"])
        except ValueError:
            onset = duration = math.nan
        label = row.get("trial_type", "")
        if not math.isfinite(onset) or not math.isfinite(duration) or duration < 0:
            raise RecordingError(
                f"{file}, line {number}: onset {row['onset']!r} and duration {row['duration']!r}, expected seconds"
            )
        if label not in ("", "n/a") and duration > 0:
            segments.append(Segment(start=onset, end=onset + duration, label=label))
    return tuple(segments)
