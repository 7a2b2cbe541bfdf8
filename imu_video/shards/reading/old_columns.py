"""Columns of version 3, which have no hashes; opened only where the data folder cannot be written to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ShardError
from imu_video.runtime.documents import read_json
from imu_video.shards.reading.arrays import CheckedArray
from imu_video.shards.reading.column_files import META_FILE, array_shapes, stored_streams
from imu_video.shards.schema import Index

_VERSION, _LIMIT = 3, 1 << 30  # bytes: about 150 per sample
_TEXTS = ("keys", "subjects", "sessions", "recordings", "labels", "tags", "flags", "start")
logger = logging.getLogger(__name__)


def open_old_columns(index: Index, split: str, folder: Path) -> dict[str, Any] | None:
    """Fields of `Columns` from a folder of version 3, or None where it is not one of these shards and rows.

    Shape, type and order of the rows are checked at once, and that values are not infinite on their first use. Changed
    bits are not noticed, so that a log line recommends to write the columns again.

    Args:
        index: a loaded index.
        split: name of a split.
        folder: its columns.
    """
    keys = index.split(split).all_keys()
    try:
        meta = read_json(folder / META_FILE, error=ShardError, limit=_LIMIT)
        fits = isinstance(meta, dict) and (meta.get("version"), meta.get("digest")) == (_VERSION, index.digest)
        if not fits or meta.get("keys") != keys or not all(len(meta[name]) == len(keys) for name in _TEXTS):
            return None
        shapes = array_shapes(index, split)
        arrays = {
            name: _open(folder / f"{name}.npy", *shapes[name])
            for name in ("imu", "present", "complete", *stored_streams(index))
        }
        fields = {
            "imu": arrays["imu"],
            "present": np.array(arrays["present"]),
            "complete": np.array(arrays["complete"]),
            "streams": {stream: arrays[stream] for stream in stored_streams(index)},
            **{name: meta[name] for name in _TEXTS},
            "recording_id": _numbered(meta["recordings"]),
            "subject_id": _numbered(meta["subjects"]),
            "start": np.array(meta["start"], dtype=np.float64),
            "flags": [tuple(found) for found in meta["flags"]],
            "left_out": meta["left_out"],
        }
    except (ValueError, KeyError, TypeError, OSError, ShardError):
        return None
    logger.warning(
        "%s: columns of an earlier version, without hashes: damage is not noticed; to write them again, open the data "
        "folder once where it is writable",
        folder,
    )
    return fields


def _open(path: Path, shape: tuple[int, ...], dtype: str) -> CheckedArray:
    def refuse(reason: str) -> ShardError:
        return ShardError(f"{path}: damaged: {reason}", hint=f"delete {path.parent} where it is writable")

    array = CheckedArray(path, None, refuse=refuse, dtypes=(dtype,), examine=_infinite)
    if array.shape != shape:
        raise ValueError(f"shape {array.shape}")
    return array


def _infinite(rows: np.ndarray) -> str | None:
    return "infinite values" if np.isinf(rows).any() else None


def _numbered(names: Sequence[str]) -> np.ndarray:
    """(N,) int64: one number per distinct name, in order of appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
