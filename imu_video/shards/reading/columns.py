"""A split as memory-mapped arrays, so that training and probes do not open tars; clips stay in the shards.

Columns are written once from the shards, under DATA/columns/<split>, and rewritten when the shards change.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, ShardError, nearest
from imu_video.modalities.base import modality_of
from imu_video.runtime.files import aside_path, remove_dead_leftovers, sync_folder, sync_tree, temporary_path
from imu_video.shards.damage import Damage, ErrorPolicy, check_policy, quarantine, quarantine_file, quarantined
from imu_video.shards.reading.pipeline import read_rows
from imu_video.shards.schema import COLUMN_FOLDER, META, Index

COLUMN_VERSION = 3
_SINGULAR = {"subjects": "subject", "sessions": "session", "recordings": "recording", "labels": "label"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The N samples of one split, in shard order; row i of every column is sample i.

    Args:
        split: name of the split.
        imu: (N, V, C, T) float32 memory map in SI units, NaN where a device, channel or sample is missing.
        placements: names of the V devices.
        present: (N, V) bool: the device has at least one measured value in that window.
        complete: (N, V) bool: it measured every sample of every channel, so that no search for gaps is needed.
        streams: stream -> (N, ...) float32 memory map of its stored samples, NaN where a sample has none; only streams
            whose modality keeps decoded arrays (a ``skeleton`` does, a ``video`` stays in the shards).
        keys, subjects, sessions: N strings.
        recordings: N recording names.
        recording_id: (N,) int64, equal for windows of one recording, numbered in order of appearance.
        subject_id: (N,) int64, equal for windows of one subject, numbered in order of appearance.
        labels: N activities, None where unlabelled.
        start: (N,) float64 seconds on the recording's clock.
        tags: N mappings.
        flags: N tuples of findings of quality checks, ``<placement>:<reason>`` or ``video:<reason>``; mostly empty.
        channels: names of the C rows.
        rate_hz: samples per second.
        digest: digest of the index that the columns were written from.
        left_out: key of each sample that could not be read -> reason; its row is NaN, not present, and has empty names.

    Example:
        >>> from imu_video.shards import load_index
        >>> columns = open_columns(load_index("data/demo"), "train")
        >>> columns.select("right_wrist").shape
        (48, 6, 100)
    """

    split: str
    imu: np.ndarray
    placements: tuple[str, ...]
    present: np.ndarray
    complete: np.ndarray
    streams: dict[str, np.ndarray]
    keys: list[str]
    subjects: list[str]
    sessions: list[str]
    recordings: list[str]
    recording_id: np.ndarray
    subject_id: np.ndarray
    labels: list[str | None]
    start: np.ndarray
    tags: list[dict[str, str]]
    flags: list[tuple[str, ...]]
    channels: tuple[str, ...]
    rate_hz: float
    digest: str
    left_out: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def device(self, placement: str) -> int:
        """Position of a placement on the device axis.

        Raises:
            ConfigError: the data has no such placement.
        """
        if placement not in self.placements:
            raise ConfigError(f"the data has no placement {placement!r}{nearest(placement, self.placements)}")
        return self.placements.index(placement)

    def select(self, placement: str) -> np.ndarray:
        """One device's windows as an (N, C, T) view; rows where it is absent are NaN (see ``present``).

        Raises:
            ConfigError: the data has no such placement.
        """
        view: np.ndarray = self.imu[:, self.device(placement)]
        return view


def open_columns(index: Index, split: str, *, errors: ErrorPolicy = "raise") -> Columns:
    """Open a split's columns; write them first if they are missing or belong to other shards.

    Several processes may call this concurrently: the first complete copy is kept.

    Args:
        index: a loaded index.
        split: name of a split.
        errors: error policy for samples that cannot be read, or that were left out before.

    Raises:
        ShardError: unknown split, damaged shards, or columns that must be written to a read-only folder.
        ConfigError: no such error policy.
    """
    check_policy(errors)
    index.split(split)
    folder = index.root / COLUMN_FOLDER / split
    columns = _open(index, split, folder)
    if columns is None and not (index.remote is not None and _fetch(index, split, folder)):
        _make(index, split, folder, errors)
    if columns is None:
        columns = _open(index, split, folder)
    if columns is None:
        raise ShardError(f"{folder}: columns were replaced while they were opened", hint="run the command again")
    return _without(columns, index, errors)


def _without(columns: Columns, index: Index, errors: ErrorPolicy) -> Columns:
    """The columns with samples listed as damaged removed, or an error, depending on the policy."""
    listed = quarantined(index, columns.split)
    if errors == "quarantine":
        listed = quarantine(index, columns.split, columns.left_out)
    left_out = {**columns.left_out, **listed}
    if not left_out:
        return columns
    if errors == "raise":
        key, reason = next(iter(left_out.items()))
        folder = index.root / COLUMN_FOLDER / columns.split
        raise ShardError(
            f"{index.root}: split {columns.split!r} has {len(left_out)} damaged samples; {key!r}: {reason}",
            hint=f"restore the shards and delete {folder} and {quarantine_file(index, columns.split)}, or leave these "
            f"samples out with errors=skip",
        )
    present = columns.present.copy()
    present[[row for row, key in enumerate(columns.keys) if key in left_out]] = False
    return replace(columns, present=present, complete=columns.complete & present, left_out=left_out)


def _open(index: Index, split: str, folder: Path) -> Columns | None:
    """The columns in ``folder``, or None where they are absent or stale."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ShardError(
            f"{folder / 'meta.json'}: not JSON: {error}", hint=f"delete {folder}; it is written again"
        ) from error
    if meta.get("version") != COLUMN_VERSION or meta.get("digest") != index.digest:
        return None
    try:
        imu = np.load(folder / "imu.npy", mmap_mode="r", allow_pickle=False)
        present = np.load(folder / "present.npy", allow_pickle=False)
        complete = np.load(folder / "complete.npy", allow_pickle=False)
        streams = {
            stream: np.load(folder / f"{stream}.npy", mmap_mode="r", allow_pickle=False) for stream in _stored(index)
        }
    except FileNotFoundError:  # another process is replacing stale columns
        return None
    except (OSError, ValueError) as error:
        raise ShardError(
            f"{folder}: columns are damaged: {error}", hint=f"delete {folder}; it is written again"
        ) from error
    expected = (index.split(split).samples, len(index.placements), len(index.channels), index.samples_per_window)
    if imu.shape != expected or not present.shape == complete.shape == expected[:2] or len(meta["keys"]) != expected[0]:
        raise ShardError(
            f"{folder}: imu.npy has shape {imu.shape}, expected (N, V, C, T) = {expected}",
            hint=f"delete {folder}; it is written again",
        )
    for stream, axes in _stored(index).items():
        if streams[stream].shape != (expected[0], *axes):
            letters = ", ".join(["N", *modality_of(stream).axes.split()])
            raise ShardError(
                f"{folder}: {stream}.npy has shape {streams[stream].shape}, expected ({letters}) = "
                f"{(expected[0], *axes)}",
                hint=f"delete {folder}; it is written again",
            )
    return Columns(
        split=split,
        imu=imu,
        placements=index.placements,
        present=present,
        complete=complete,
        streams=streams,
        recording_id=_numbered(meta["recordings"]),
        subject_id=_numbered(meta["subjects"]),
        start=np.array(meta["start"], dtype=np.float64),
        flags=[tuple(found) for found in meta["flags"]],
        channels=index.channels,
        rate_hz=index.rate_hz,
        digest=index.digest,
        left_out=meta["left_out"],
        **{name: meta[name] for name in ("keys", "subjects", "sessions", "recordings", "labels", "tags")},
    )


def _numbered(names: Sequence[str]) -> np.ndarray:
    """(N,) int64: one number per distinct name, in order of appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _stored(index: Index) -> dict[str, tuple[int, ...]]:
    """Streams stored in columns, and the axes of one sample."""
    return {stream: spec.shape for stream, spec in index.streams.items() if modality_of(stream).in_columns}


def _fetch(index: Index, split: str, folder: Path) -> bool:
    """Fetch the columns from the folder's address; False if it has none for these shards."""
    if index.remote is None:
        return False
    remove_dead_leftovers(folder.parent)
    temp = temporary_path(folder)
    temp.mkdir(parents=True)
    names = ["meta.json", "imu.npy", "present.npy", "complete.npy"]
    try:
        for name in names + [f"{stream}.npy" for stream in _stored(index)]:
            index.remote.fetch(f"{COLUMN_FOLDER}/{split}/{name}", temp / name)
            if name == "meta.json" and json.loads((temp / name).read_text(encoding="utf-8"))["digest"] != index.digest:
                return False
        if _open(index, split, temp) is None:
            return False
        _publish(index, temp, folder)
        return True
    except (ShardError, ValueError, KeyError, TypeError):
        return False  # absent, stale or damaged there: columns are written locally from checked shards
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _make(index: Index, split: str, folder: Path, errors: ErrorPolicy) -> None:
    """Read the split's tars once, write the columns to a temporary folder and rename it."""
    remove_dead_leftovers(folder.parent)
    temp = temporary_path(folder)
    try:
        temp.mkdir(parents=True)
    except OSError as error:
        raise ShardError(
            f"{folder}: columns cannot be written: {error.strerror}",
            hint="make the data folder writable once, or copy it",
        ) from error
    try:
        _fill(index, split, temp, errors)
        _publish(index, temp, folder)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _fill(index: Index, split: str, temp: Path, errors: ErrorPolicy) -> None:
    damage = None if errors == "raise" else Damage()
    samples = index.split(split).samples
    devices = {placement: device for device, placement in enumerate(index.placements)}
    empty: dict[str, Any] = {
        "subjects": "",
        "sessions": "",
        "recordings": "",
        "labels": None,
        "start": 0.0,
        "tags": {},
        "flags": (),
    }
    facts: dict[str, list[Any]] = {name: [value] * samples for name, value in empty.items()}
    facts["keys"] = [key for shard in index.split(split).shards for key in shard.keys]
    columns = [(facts[name], _SINGULAR.get(name, name)) for name in empty]
    with ExitStack() as stack:
        imu = stack.enter_context(
            _Rows(temp / "imu.npy", (samples, len(devices), len(index.channels), index.samples_per_window))
        )
        streams = {
            stream: stack.enter_context(_Rows(temp / f"{stream}.npy", (samples, *axes)))
            for stream, axes in _stored(index).items()
        }
        for row, sample in read_rows(index, split, {"imu", META, *streams}, damage=damage):
            windows = imu.row(row)
            for placement, values in sample.imu.items():
                if placement in devices:
                    windows[devices[placement]] = values
            for stream, values in sample.streams.items():
                streams[stream].row(row)[...] = values
            for column, name in columns:
                column[row] = sample.meta[name]
    np.save(temp / "present.npy", imu.present, allow_pickle=False)
    np.save(temp / "complete.npy", imu.complete, allow_pickle=False)
    meta_json = {
        "version": COLUMN_VERSION,
        "digest": index.digest,
        **facts,
        "left_out": damage.left_out if damage else {},
    }
    (temp / "meta.json").write_text(json.dumps(meta_json, ensure_ascii=False, allow_nan=False), encoding="utf-8")


class _Rows:
    """A float32 .npy file of known shape (N, V, ...), its rows filled in increasing order; rows not filled are NaN.

    Attributes:
        present, complete: (N, V) bool: any value, every value is finite; complete once the file is closed.
    """

    _BYTES = 1 << 21  # rows held before they are written

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.present, self.complete = np.zeros(shape[:2], dtype=bool), np.zeros(shape[:2], dtype=bool)
        self._count, self._begin = shape[0], 0
        self._held = np.full(
            (max(1, min(shape[0], self._BYTES // max(1, 4 * math.prod(shape[1:])))), *shape[1:]), np.nan, np.float32
        )
        self._file = path.open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def row(self, number: int) -> np.ndarray:
        """(V, ...) buffer of a row, to be filled before the next row is requested."""
        while number >= self._begin + len(self._held):
            self._write()
        row: np.ndarray = self._held[number - self._begin]
        return row

    def _write(self) -> None:
        held = self._held[: self._count - self._begin]
        rows = slice(self._begin, self._begin + len(held))
        finite = np.isfinite(held).reshape(*held.shape[:2], -1)
        self.present[rows], self.complete[rows] = finite.any(axis=2), finite.all(axis=2)
        self._file.write(held.astype("<f4", copy=False).data)
        self._held[:] = np.nan
        self._begin += len(held)

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        while kind is None and self._begin < self._count:
            self._write()
        self._file.close()


def _publish(index: Index, temp: Path, folder: Path) -> None:
    """Rename the finished folder into place; move stale columns away, keep another process's finished copy."""
    split = folder.name
    sync_tree(temp)
    for _ in range(5):
        if _open(index, split, folder) is not None:
            return
        old = aside_path(folder)
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, old)
        shutil.rmtree(old, ignore_errors=True)
        try:
            os.rename(temp, folder)
        except OSError:
            continue  # another process was faster: check whether its columns can be used
        sync_folder(folder.parent)
        return
    raise ShardError(f"{folder}: other processes keep replacing these columns", hint="run the command again")
