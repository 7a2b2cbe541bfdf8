"""Tables of recordings that a build could not read, and of dropped windows; policies are applied elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from imu_video.config import Config
from imu_video.errors import RecordingError, ShardError
from imu_video.runtime import documents
from imu_video.runtime.files import open_atomic
from imu_video.shards.schema import DROPPED_FILE, LEFT_OUT_FILE, SourceFile

ROWS_LIMIT = 1 << 30
"""Largest size in bytes: a row has a few hundred, and a folder up to a million recordings."""
C = TypeVar("C", bound=Config)


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
    """Content of dropped.json: recording -> reason -> starts of the dropped windows in seconds."""

    windows: dict[str, dict[str, list[float]]]


def write_lines(path: Path, before: str, lines: Iterable[str], after: str) -> None:
    """Write a JSON file of one row per line atomically, one row in memory at a time.

    Args:
        path: the file.
        before, after: text before the first and after the last row.
        lines: rows without commas and line breaks.
    """
    with open_atomic(path) as file:
        file.write(before.encode())
        for number, line in enumerate(lines):
            file.write(f",\n{line}".encode() if number else line.encode())
        file.write(after.encode())


def read_rows(file: Path, model: type[C], *, hint: str) -> C | None:
    """The content of a file with one row per recording or source file; None if there is no such file.

    Raises:
        ShardError: it cannot be read, or another key or type.
    """
    try:
        return documents.read_model(file, model, error=ShardError, hint=hint, limit=ROWS_LIMIT)
    except ShardError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def write_left_out(rows: Iterable[LeftOut | str], root: Path) -> None:
    """Write left_out.json, one recording per line; rows may be given as JSON."""
    texts = (
        row if isinstance(row, str) else json.dumps(row.model_dump(exclude_none=True), ensure_ascii=False)
        for row in rows
    )
    write_lines(root / LEFT_OUT_FILE, '{"recordings": [\n', texts, "\n]}\n")


def read_left_out(root: Path) -> tuple[LeftOut, ...]:
    """The recordings that the build of a data folder left out; empty without left_out.json.

    Raises:
        ShardError: left_out.json cannot be read.
    """
    table = read_rows(root / LEFT_OUT_FILE, LeftOutTable, hint="delete that file")
    return () if table is None else table.recordings


def write_dropped(windows: Mapping[str, Mapping[str, Sequence[float]]], root: Path) -> None:
    """Write dropped.json: recording -> reason -> starts of the dropped windows in seconds."""
    write_dropped_rows(((name, json.dumps(windows[name])) for name in sorted(windows)), root)


def write_dropped_rows(rows: Iterable[tuple[str, str]], root: Path) -> None:
    """Write dropped.json from the names of recordings, sorted, each with the JSON of its reasons and starts."""
    texts = (f"{json.dumps(name, ensure_ascii=False)}: {value}" for name, value in rows)
    write_lines(root / DROPPED_FILE, '{"windows": {\n', texts, "\n}}\n")


def read_dropped(root: Path) -> dict[str, dict[str, list[float]]]:
    """The dropped windows of a data folder; empty if there are none, or an earlier version built it.

    Raises:
        ShardError: dropped.json cannot be read.
    """
    table = read_rows(root / DROPPED_FILE, DroppedTable, hint="delete that file")
    return {} if table is None else table.windows


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


def refuse_mostly_left_out(first: LeftOut | None, left_out: int, read: int, dataset: Mapping[str, Any]) -> None:
    """Raise an error if more recordings were left out than were read: the cause is then not a single damaged file.

    Args:
        first: the first recording left out.
        left_out: number of recordings left out.
        read: number of recordings that were read.
        dataset: config entry of the dataset, for the hint.

    Raises:
        RecordingError: with the first reason.
    """
    if first is None or left_out <= read:
        return
    raise RecordingError(
        f"{left_out} of {left_out + read} recordings cannot be read; the first is {first.recording!r}: {first.reason}",
        hint="; ".join(filter(None, (first.hint, check_hint(dataset)))) or None,
    )
