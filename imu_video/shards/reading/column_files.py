"""Files of a split's columns: their meta file and how they are written from the shards; columns.py opens them.

``meta.json`` describes the columns and each array (`ArrayFacts`). ``imu.npy``, ``present.npy``, ``complete.npy`` and
one array per stream have one row per sample. Strings are stored as arrays, because JSON with a million of them takes
seconds to parse:

- ``_text.npy`` (bytes,) uint8: the UTF-8 of all strings: the N keys, then the distinct values of `FACTS`;
- ``_ends.npy`` int64: where each of them ends in ``_text.npy``;
- ``_codes.npy`` (N, 6) int32: for each of `FACTS` the number of the value of the sample; label -1: unlabelled. Tags and
  flags are JSON. Values are numbered in the order of their first row;
- ``_start.npy`` (N,) float64 seconds.
"""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.config import Config
from imu_video.modalities.base import modality_of
from imu_video.runtime.files import write_atomic
from imu_video.shards.damage import Damage, ErrorPolicy
from imu_video.shards.reading.array_files import ArrayWriter, save_array
from imu_video.shards.reading.arrays import ArrayFacts, sealed
from imu_video.shards.reading.pipeline import read_rows
from imu_video.shards.reading.texts import by_appearance, pack
from imu_video.shards.schema import META, Index

COLUMN_VERSION = 4
META_FILE = "meta.json"
FACTS = ("subjects", "sessions", "recordings", "labels", "tags", "flags")
"""Columns of ``_codes.npy``."""
_EMPTY = {"subjects": "", "sessions": "", "recordings": "", "tags": "{}", "flags": "[]"}
_MEMBER = {"subjects": "subject", "sessions": "session", "recordings": "recording", "labels": "label"}


class ColumnMeta(Config):
    """Content of meta.json.

    Args:
        version: `COLUMN_VERSION`.
        split, digest, rows: split, digest of the index and of the rows (`Index.rows_digest`) that were read.
        distinct: number of distinct values of each of `FACTS`, in the order of ``_text.npy``.
        left_out: key of each sample that could not be read -> reason.
        arrays: description of each array by the name of its file without ``.npy``.
        seal: hash of the rest.
    """

    version: int
    split: str
    digest: str
    rows: str
    distinct: dict[str, int]
    left_out: dict[str, str]
    arrays: dict[str, ArrayFacts]
    seal: str


def stored_streams(index: Index) -> dict[str, tuple[int, ...]]:
    """Streams stored in columns, and the axes of one sample."""
    return {stream: spec.shape for stream, spec in index.streams.items() if modality_of(stream).in_columns}


def array_shapes(index: Index, split: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of every array whose shape the index determines, by the name of its file without ``.npy``."""
    samples, devices = index.split(split).samples, len(index.placements)
    return {
        "imu": ((samples, devices, len(index.channels), index.samples_per_window), "<f4"),
        "present": ((samples, devices), "|b1"),
        "complete": ((samples, devices), "|b1"),
        "_codes": ((samples, len(FACTS)), "<i4"),
        "_start": ((samples,), "<f8"),
        **{stream: ((samples, *axes), "<f4") for stream, axes in stored_streams(index).items()},
    }


def file_names(index: Index, split: str) -> list[str]:
    """Names of all files of a split's columns, meta.json first."""
    return [META_FILE, *(f"{name}.npy" for name in [*array_shapes(index, split), "_text", "_ends"])]


def write_columns(index: Index, split: str, folder: Path, errors: ErrorPolicy) -> None:
    """Read the split's tars once and write its columns into an empty folder.

    Raises:
        ShardError: damaged shards, with the policy ``raise``.
    """
    damage = None if errors == "raise" else Damage()
    shapes = array_shapes(index, split)
    samples = index.split(split).samples
    devices = {placement: device for device, placement in enumerate(index.placements)}
    numbers = _Numbers(samples)
    start = np.zeros(samples, "<f8")
    channels = [f"{placement}.{channel}" for placement in index.placements for channel in index.channels]
    with ExitStack() as stack:
        imu = stack.enter_context(_Rows(folder / "imu.npy", shapes["imu"][0], channels))
        streams = {
            stream: stack.enter_context(_Rows(folder / f"{stream}.npy", shapes[stream][0], ["all"]))
            for stream in stored_streams(index)
        }
        for row, sample in read_rows(index, split, {"imu", META, *streams}, damage=damage):
            windows = imu.row(row)
            for placement, window in sample.imu.items():
                if placement in devices:
                    windows[devices[placement]] = window
            for stream, array in sample.streams.items():
                streams[stream].row(row)[...] = array
            numbers.put(row, sample.meta)
            start[row] = sample.meta["start"]
    codes, values = numbers.finished()
    keys = index.split(split).all_keys()
    text, ends = pack([*keys, *(one for name in FACTS for one in values[name])])
    small = {"present": imu.present, "complete": imu.complete, "_codes": codes, "_start": start}
    small |= {"_text": text, "_ends": ends}
    facts = {"imu": imu.facts} | {stream: rows.facts for stream, rows in streams.items()}
    facts |= {name: save_array(folder / f"{name}.npy", array) for name, array in small.items()}
    content = {
        "version": COLUMN_VERSION,
        "split": split,
        "digest": index.digest,
        "rows": index.rows_digest(split),
        "distinct": {name: len(values[name]) for name in FACTS},
        "left_out": damage.left_out if damage else {},
        "arrays": {name: one.plain() for name, one in facts.items()},
    }
    write_atomic(folder / META_FILE, json.dumps(sealed(content), ensure_ascii=False, allow_nan=False))


class _Numbers:
    """Numbers of the values of every sample's facts; samples that are left out keep the empty values."""

    def __init__(self, samples: int) -> None:
        self._values: dict[str, dict[str, int]] = {name: {} for name in FACTS}
        self._codes = np.zeros((samples, len(FACTS)), "<i4")
        for column, name in enumerate(FACTS):
            if name in _EMPTY:
                self._values[name][_EMPTY[name]] = 0
            else:
                self._codes[:, column] = -1

    def put(self, row: int, meta: dict[str, Any]) -> None:
        """Take the facts of a sample."""
        codes = self._codes[row]
        for column, name in enumerate(FACTS):
            value = meta[_MEMBER.get(name, name)]
            if value is None:
                continue
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            known = self._values[name]
            codes[column] = known.setdefault(text, len(known))

    def finished(self) -> tuple[np.ndarray, dict[str, list[str]]]:
        """(N, 6) codes and the values of each of `FACTS`, both in order of appearance."""
        values = {}
        for column, name in enumerate(FACTS):
            self._codes[:, column], values[name] = by_appearance(self._codes[:, column], list(self._values[name]))
        return self._codes, values


class _Rows:
    """A float32 array of known shape (N, V, ...), its rows filled in increasing order; rows not filled are NaN.

    Attributes:
        present, complete: (N, V) bool: any value, every value is finite; complete once the file is closed.
    """

    _BYTES = 1 << 21  # rows held before they are written

    def __init__(self, path: Path, shape: tuple[int, ...], names: list[str]) -> None:
        self.present, self.complete = np.zeros(shape[:2], dtype=bool), np.zeros(shape[:2], dtype=bool)
        self._count, self._begin = shape[0], 0
        self._held = np.full(
            (max(1, min(shape[0], self._BYTES // max(1, 4 * math.prod(shape[1:])))), *shape[1:]), np.nan, np.float32
        )
        self._writer = ArrayWriter(path, shape, "<f4", names=names)

    @property
    def facts(self) -> ArrayFacts:
        """Description of the closed file."""
        return self._writer.facts

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
        self._writer.write(held)
        self._held[:] = np.nan
        self._begin += len(held)

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *other: Any) -> None:
        while kind is None and self._begin < self._count:
            self._write()
        self._writer.__exit__(kind, *other)
