"""One file as a recording without a `dataset.yaml`: by its reader, or as a table with unambiguous columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.config import validate
from imu_video.datasets.folder.declaration import ImuFormat
from imu_video.datasets.folder.patterns import placement_name, plain_name
from imu_video.datasets.folder.read import read_device, unmeasured
from imu_video.datasets.layout import stream
from imu_video.datasets.proposal.columns import Columns, Guess, propose_columns
from imu_video.datasets.proposal.files import TABULAR, columns_of, read_columns, recognise
from imu_video.errors import RecordingError
from imu_video.registry import readers
from imu_video.types import ImuStream, Recording, Segment

SUBJECT = "unknown"
"""Subject of a recording that nothing names."""


def read_file(path: Path, *, placement: str | None = None) -> Recording:
    """Read one file of a device, an app, or a table as a recording.

    Units and columns of a table are taken from the file where names and values leave one interpretation; the notes of
    the recording state each of them with its evidence.

    Args:
        path: the file, or the folder of an export that a reader recognises.
        placement: name of the device, for a file with one; default: the device's name in the file, or ``device``.

    Raises:
        RecordingError: no such file, a kind of file that nothing recognises, a table with an ambiguous column, or a
            name of a placement for several devices.

    Example:
        ``read_file(Path("walk.csv")).imu[0].times``
    """
    if not path.exists():
        raise RecordingError(f"{path}: no such file", hint="name a recording, or a folder with a dataset.yaml")
    found = recognise(path)
    if found is not None:
        return _by_reader(path, found[0], placement)
    if path.suffix.lower() in TABULAR:
        return _table(path, placement)
    raise RecordingError(
        f"{path}: no reader recognises this {'folder' if path.is_dir() else 'file'}",
        hint=(
            f"imu-video init {path} proposes a dataset.yaml for a folder of recordings"
            if path.is_dir()
            else "`imu-video list readers` names the files of devices and apps; tables: .csv, .txt, .tsv, .parquet"
        ),
    )


def _by_reader(path: Path, name: str, placement: str | None) -> Recording:
    reading = readers.build(name).read(path)
    devices = [device for device in reading.devices if {"acc", "gyr"} & set(device.tracks)]
    if not devices:
        raise RecordingError(f"{path}: contains no accelerometer or gyroscope")
    if placement is not None and len(devices) > 1:
        names = ", ".join(device.name for device in devices)
        raise RecordingError(
            f"{path}: contains {len(devices)} devices ({names}), so that one placement name does not fit",
            hint="leave the placement out, or declare the file in a dataset.yaml",
        )
    removed = {device.gravity is False for device in devices if "acc" in device.tracks}
    if len(removed) > 1:
        raise RecordingError(
            f"{path}: some devices include gravity and some do not", hint="declare one of them in a dataset.yaml"
        )
    zero = reading.start_utc or 0.0
    streams = tuple(
        stream(
            placement_name(placement or device.name),
            **{
                kind: type(track)(times=track.times + zero, values=track.values, unit=track.unit)
                for kind, track in device.tracks.items()
                if kind in ("acc", "gyr")
            }
            | ({"acc": None} if "acc" not in device.tracks else {}),
            source=str(path),
            gravity=device.gravity is not False,
        )
        for device in devices
    )
    segments = tuple(Segment(start=s.start + zero, end=s.end + zero, label=s.label) for s in reading.segments)
    return _recording(
        path,
        streams,
        segments=segments,
        tags={**reading.tags, **({"gravity": "removed"} if True in removed else {})},
        notes=(f"read as {name}", *reading.notes),
    )


def _table(path: Path, placement: str | None) -> Recording:
    names = columns_of(path)  # names the fault of a file that is no table
    values, texts, options = read_columns(path)
    blank = [name for name in names if name not in values and not name.startswith("column ")]
    found = propose_columns(list(values), values, texts)
    unknown = dict(_unknown(found, options))
    if unknown:
        listed = "; ".join(f"{key}: {why}" for key, why in unknown.items())
        raise RecordingError(
            f"{path}: cannot be read without a declaration: {listed}",
            hint=f"{_header_hint(unknown)}imu-video init {path.parent}, fill in the dataset.yaml, and name that folder "
            "in place of the file",
        )
    form = validate(_format(found, options), ImuFormat, source=str(path))
    device, segments = read_device(placement_name(placement or "device"), {"": path}, form, check_units=True)
    removed = found.gravity is not None and found.gravity.value == "removed"
    return _recording(
        path,
        (device,),
        segments=segments,
        tags={"gravity": "removed"} if removed else {},
        notes=(*_evidence(found), *([f"columns without a value: {', '.join(blank)}"] if blank else [])),
    )


def _unknown(found: Columns, options: dict[str, str]) -> list[tuple[str, str]]:
    """What only the owner of a table knows, each with the reason."""
    out = []
    if "columns" in options:
        out.append(("columns", "the file has no header line"))
    if not found.channels:
        out.append(("channels", "no three columns x, y, z are recognised"))
    if found.time.value is None:
        out.append(("time", found.time.evidence))
    elif found.time_unit.value is None:
        out.append(("unit of the time", found.time_unit.evidence))
    out += [(f"unit of {kind}", guess.evidence) for kind, guess in found.units.items() if guess.value is None]
    return out


_HEADER = {
    "channels": "acc_x (m/s^2)",
    "time": "time (s)",
    "unit of the time": "time (s)",
    "unit of acc": "acc_x (m/s^2)",
    "unit of gyr": "gyr_x (rad/s)",
}
"""What is not known of a table, and a column name that states it."""


def _header_hint(unknown: Mapping[str, str]) -> str:
    """The shorter remedy, where names of columns settle everything that is unknown."""
    if not set(unknown) <= set(_HEADER):
        return ""
    examples = ", ".join(f"`{name}`" for name in dict.fromkeys(_HEADER[key] for key in unknown))
    return f"state it in the names of the columns ({examples}), or: "


def _format(found: Columns, options: dict[str, str]) -> dict[str, Any]:
    form: dict[str, Any] = {
        "time": {"column": found.time.value, "unit": found.time_unit.value},
        "channels": dict(found.channels),
        "units": {kind: guess.value for kind, guess in found.units.items()},
        **options,
    }
    if found.label.value is not None:
        form["label"] = found.label.value
    if found.gravity is not None and found.gravity.value == "removed":
        form["gravity"] = "removed"
    return form


def _evidence(found: Columns) -> list[str]:
    """The guesses that the table was read with, each with its evidence."""
    guesses: dict[str, Guess] = {"time": found.time, "unit of the time": found.time_unit}
    guesses |= {f"unit of {kind}": guess for kind, guess in found.units.items()}
    if found.gravity is not None and found.gravity.value is not None:
        guesses["gravity"] = found.gravity
    channels = ", ".join(f"{channel} = {column}" for channel, column in found.channels.items())
    return [f"channels: {channels}", *(f"{key}: {guess.value} ({guess.evidence})" for key, guess in guesses.items())]


def _recording(path: Path, streams: tuple[ImuStream, ...], **facts: Any) -> Recording:
    for one in streams:
        if not np.isfinite(one.values).any():
            raise RecordingError(f"{path}, {one.placement}: contains no numbers")
    notes = (*facts.pop("notes"), *(note for one in streams for note in unmeasured(one)))
    name = plain_name(path.stem)
    return Recording(dataset="recording", subject=SUBJECT, name=name, imu=streams, notes=notes, **facts)
