"""Tables of recordings that a build could not read, and of dropped windows; policies are applied elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imu_video.config import Config
from imu_video.errors import RecordingError, ShardError
from imu_video.runtime.documents import read_model
from imu_video.runtime.files import write_atomic
from imu_video.shards.schema import DROPPED_FILE, LEFT_OUT_FILE, SourceFile


class LeftOut(Config):
    """One recording that could not be read.

    Args:
        recording: its name, or that of the take; ``after NAME`` if the adapter stopped after that recording.
        subject: its subject.
        reason: the error, without the folder of the recordings.
        hint: the hint of the error.
        files: its files with size and time; empty if the adapter does not name them.
        quarantined: whether later builds of the folder leave it out without reading it, while its files are unchanged.
    """

    recording: str
    subject: str
    reason: str
    hint: str = ""
    files: dict[str, SourceFile] = {}
    quarantined: bool = False


class LeftOutTable(Config):
    """Content of left_out.json."""

    recordings: tuple[LeftOut, ...]


class DroppedTable(Config):
    """Content of dropped.json."""

    windows: dict[str, dict[str, list[float]]]


def write_left_out(rows: Sequence[LeftOut], root: Path) -> None:
    """Write left_out.json, one recording per line."""
    lines = ",\n".join(json.dumps(row.model_dump(exclude_none=True), ensure_ascii=False) for row in rows)
    write_atomic(root / LEFT_OUT_FILE, f'{{"recordings": [\n{lines}\n]}}\n')


def read_left_out(root: Path) -> tuple[LeftOut, ...]:
    """The recordings that the build of a data folder left out; empty without left_out.json.

    Raises:
        ShardError: left_out.json cannot be read.
    """
    file = root / LEFT_OUT_FILE
    if not file.exists():
        return ()
    return read_model(file, LeftOutTable, error=ShardError, hint="delete that file").recordings


def write_dropped(windows: Mapping[str, Mapping[str, Sequence[float]]], root: Path) -> None:
    """Write dropped.json: recording -> reason -> starts of the dropped windows in seconds."""
    lines = ",\n".join(
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(windows[name])}" for name in sorted(windows)
    )
    write_atomic(root / DROPPED_FILE, f'{{"windows": {{\n{lines}\n}}}}\n')


def read_dropped(root: Path) -> dict[str, dict[str, list[float]]]:
    """The dropped windows of a data folder; empty if there are none, or an earlier version built it.

    Raises:
        ShardError: dropped.json cannot be read.
    """
    file = root / DROPPED_FILE
    if not file.exists():
        return {}
    return read_model(file, DroppedTable, error=ShardError, hint="delete that file").windows


def still_listed(name: str, files: Mapping[str, SourceFile], quarantined: Mapping[str, LeftOut]) -> LeftOut | None:
    """The entry of a listed recording whose files are unchanged, or None: a changed file is read again."""
    row = quarantined.get(name)
    if row is None or not files or row.files.keys() != files.keys():
        return None
    same = all((row.files[f].bytes, row.files[f].mtime_ns) == (files[f].bytes, files[f].mtime_ns) for f in files)
    return row if same else None


def check_hint(dataset: Mapping[str, Any]) -> str:
    """The command that lists the faults of all files of a dataset, as part of a hint; empty without a folder of files.

    Example:
        >>> check_hint({"name": "folder", "root": "my-study"})
        '`imu-video check my-study` lists the faults of all files'
    """
    root, name = dataset.get("root"), dataset.get("name")
    if root is None:
        return ""
    kind = "" if name == "folder" else f" --dataset {name}"
    return f"`imu-video check {root}{kind}` lists the faults of all files"


def refuse_mostly_left_out(rows: Sequence[LeftOut], read: int, dataset: Mapping[str, Any]) -> None:
    """Raise an error if more recordings were left out than were read: the cause is then not a single damaged file.

    Args:
        rows: the recordings left out.
        read: number of recordings that were read.
        dataset: config entry of the dataset, for the hint.

    Raises:
        RecordingError: with the first reason.
    """
    if len(rows) <= read:
        return
    first = rows[0]
    raise RecordingError(
        f"{len(rows)} of {len(rows) + read} recordings cannot be read; the first is {first.recording!r}: "
        f"{first.reason}",
        hint="; ".join(filter(None, (first.hint, check_hint(dataset)))) or None,
    )
