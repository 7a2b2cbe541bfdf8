"""A split as memory-mapped arrays, so that training and probes do not open tars; clips stay in the shards.

Columns are written once from the shards, under DATA/columns/<split>, and rewritten when the shards change. Every array
is compared with its hashes before it is used, see arrays.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, ShardError, nearest
from imu_video.runtime.documents import JSON_LIMIT, parse_json, read_json, validate
from imu_video.runtime.files import aside_path, remove_dead_leftovers, sync_folder, sync_tree, temporary_path
from imu_video.shards.damage import ErrorPolicy, check_policy, quarantine, quarantine_file, quarantined
from imu_video.shards.reading.arrays import SEAL, CheckedArray, seal_of
from imu_video.shards.reading.column_files import (
    COLUMN_VERSION,
    FACTS,
    META_FILE,
    ColumnMeta,
    array_shapes,
    file_names,
    stored_streams,
    write_columns,
)
from imu_video.shards.reading.old_columns import open_old_columns
from imu_video.shards.reading.texts import Coded, Mappings, Texts
from imu_video.shards.schema import COLUMN_FOLDER, Index


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The N samples of one split, in shard order; row i of every column is sample i.

    Args:
        split: name of the split.
        imu: (N, V, C, T) float32 memory map in SI units, NaN where a device, channel or sample is missing; its rows are
            compared with their hashes before they are used first (`CheckedArray`).
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
    imu: CheckedArray
    placements: tuple[str, ...]
    present: np.ndarray
    complete: np.ndarray
    streams: dict[str, CheckedArray]
    keys: Sequence[str]
    subjects: Sequence[str]
    sessions: Sequence[str]
    recordings: Sequence[str]
    recording_id: np.ndarray
    subject_id: np.ndarray
    labels: Sequence[str | None]
    start: np.ndarray
    tags: Sequence[dict[str, str]]
    flags: Sequence[tuple[str, ...]]
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
        columns = _make(index, split, folder, errors)
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


def column_arrays(index: Index, split: str, folder: Path) -> tuple[ColumnMeta, dict[str, CheckedArray]] | None:
    """Meta file and arrays of a split's columns in a folder; None where they are absent, stale or of another version.

    Raises:
        ShardError: the meta file is damaged, or an array has another size or header than was written.
    """
    hint = f"delete {folder}; the next command writes it again from the shards"
    meta = _read_meta(index, split, folder, hint)
    if meta is None:
        return None
    arrays: dict[str, CheckedArray] = {}
    for name, facts in meta.arrays.items():

        def refuse(reason: str, name: str = name) -> ShardError:
            return ShardError(f"{folder / name}.npy: damaged: {reason}", hint=hint)

        try:
            arrays[name] = CheckedArray(folder / f"{name}.npy", facts, refuse=refuse)
        except FileNotFoundError:  # another process is replacing stale columns
            return None
        except OSError as error:
            raise refuse(f"cannot be read: {error.strerror}") from error
    return meta, arrays


def _open(index: Index, split: str, folder: Path) -> Columns | None:
    """The columns in ``folder``, or None where they are absent, stale or of another version."""
    found = column_arrays(index, split, folder)
    if found is None:
        return None
    meta, arrays = found
    for name in _SMALL:
        arrays[name].check()
    try:
        fields = _facts_of_samples(arrays, meta, index.split(split).samples)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ShardError(
            f"{folder}: damaged: {type(error).__name__}: {error}",
            hint=f"delete {folder}; the next command writes it again from the shards",
        ) from error
    fields |= {"imu": arrays["imu"], "streams": {stream: arrays[stream] for stream in stored_streams(index)}}
    fields |= {name: np.array(arrays[name]) for name in ("present", "complete")}
    return _columns(index, split, {**fields, "start": np.array(arrays["_start"]), "left_out": meta.left_out})


def _columns(index: Index, split: str, fields: Mapping[str, Any]) -> Columns:
    return Columns(
        split=split,
        placements=index.placements,
        channels=index.channels,
        rate_hz=index.rate_hz,
        digest=index.digest,
        **fields,
    )


def _facts_of_samples(arrays: Mapping[str, CheckedArray], meta: ColumnMeta, samples: int) -> dict[str, Any]:
    """The columns of strings, and the numbers of recordings and subjects."""
    codes, text, ends = (arrays[name].plain for name in ("_codes", "_text", "_ends"))
    values, at = {}, samples
    for name in FACTS:
        found = Texts(text, ends[at : at + meta.distinct[name]], int(ends[at - 1]))
        values[name], at = list(found), at + meta.distinct[name]
    code = dict(zip(FACTS, codes.T, strict=True))
    return {
        "keys": Texts(text, ends[:samples]),
        **{name: Coded(code[name], values[name]) for name in ("subjects", "sessions", "recordings")},
        "labels": Coded(code["labels"], [*values["labels"], None]),
        "tags": Mappings(code["tags"], [parse_json(one, "tags", error=ShardError) for one in values["tags"]]),
        "flags": Coded(code["flags"], [tuple(parse_json(one, "flags", error=ShardError)) for one in values["flags"]]),
        # Values are numbered in order of appearance, and so are recordings and subjects.
        "recording_id": code["recordings"].astype(np.int64),
        "subject_id": code["subjects"].astype(np.int64),
    }


_SMALL = ("present", "complete", "_codes", "_start", "_text", "_ends")  # checked as a whole when they are opened


def _read_meta(index: Index, split: str, folder: Path, hint: str) -> ColumnMeta | None:
    """The meta file, or None where there is none for these shards and rows by this version."""
    file = folder / META_FILE
    try:
        if file.stat().st_size > JSON_LIMIT:  # of a version that stored a string per sample
            return None
        content = read_json(file, error=ShardError, hint=hint)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ShardError(f"{file}: cannot be read: {error.strerror}", hint=hint) from error
    except ShardError:
        if not os.path.lexists(file):  # another process is replacing stale columns
            return None
        raise
    if not isinstance(content, dict):
        raise ShardError(f"{file}: expected a JSON object, got {type(content).__name__}", hint=hint)
    wanted = {"version": COLUMN_VERSION, "split": split, "digest": index.digest, "rows": index.rows_digest(split)}
    if any(content.get(key) != value for key, value in wanted.items()):
        return None
    if content.get(SEAL) != seal_of(content):
        raise ShardError(f"{file}: damaged: its content differs from the one that was written", hint=hint)
    meta = validate(ColumnMeta, content, str(file), error=ShardError, hint=hint)
    texts = index.split(split).samples + sum(meta.distinct.values())
    shapes = {**array_shapes(index, split), "_ends": ((texts,), "<i8")}
    if set(meta.distinct) != set(FACTS) or set(meta.arrays) != {*shapes, "_text"}:
        raise ShardError(f"{file}: arrays {sorted(meta.arrays)}, expected {sorted({*shapes, '_text'})}", hint=hint)
    for name, (shape, dtype) in shapes.items():
        facts = meta.arrays.get(name)
        if facts is None or (facts.shape, facts.dtype) != (shape, dtype):
            seen = "no such array" if facts is None else f"{facts.dtype} {list(facts.shape)}"
            raise ShardError(f"{file}: {name}.npy: {seen}, expected {dtype} {list(shape)}", hint=hint)
    return meta


def _fetch(index: Index, split: str, folder: Path) -> bool:
    """Fetch the columns from the folder's address; False if it has none for these shards."""
    if index.remote is None:
        return False
    remove_dead_leftovers(folder.parent)
    temp = temporary_path(folder)
    temp.mkdir(parents=True)
    try:
        for name in file_names(index, split):
            index.remote.fetch(f"{COLUMN_FOLDER}/{split}/{name}", temp / name)
            if name == META_FILE and _read_meta(index, split, temp, "") is None:
                return False
        columns = _open(index, split, temp)
        if columns is None:
            return False
        for array in (columns.imu, *columns.streams.values()):
            np.asarray(array)  # checks every block, because the address may have other bytes
        _publish(index, temp, folder)
        return True
    except (ShardError, ValueError, KeyError, TypeError):
        return False  # absent, stale or damaged there: columns are written locally from checked shards
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _make(index: Index, split: str, folder: Path, errors: ErrorPolicy) -> Columns | None:
    """Read the split's tars once, write the columns to a temporary folder and rename it.

    Returns:
        The columns of an earlier version where the folder cannot be written to, otherwise None.
    """
    remove_dead_leftovers(folder.parent)
    temp = temporary_path(folder)
    try:
        temp.mkdir(parents=True)
    except OSError as error:
        old = open_old_columns(index, split, folder)
        if old is not None:
            return _columns(index, split, old)
        raise ShardError(
            f"{folder}: columns cannot be written: {error.strerror}",
            hint="make the data folder writable once, or copy it",
        ) from error
    try:
        write_columns(index, split, temp, errors)
        _publish(index, temp, folder)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return None


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
