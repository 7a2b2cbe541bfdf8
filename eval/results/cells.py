"""Finished cells of a long evaluation as small files, so that interrupted evaluations resume; computes nothing."""

from __future__ import annotations

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.config import digest
from imu_video.errors import DataError
from imu_video.runtime import documents
from imu_video.runtime.files import open_atomic, remove_dead_leftovers


class CellStore:
    """Arrays under keys, one file per key, written atomically; several processes may share a folder.

    Args:
        folder: created by the first `put`.

    Example:
        ``store = CellStore(Path("results.cells")); store.put({"seed": 0}, {"counts": counts})``
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tidy = False

    def path(self, key: Mapping[str, Any]) -> Path:
        """File of a key, which is any mapping of JSON values."""
        return self.folder / f"{digest(key)}.npz"

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether the cell is stored."""
        return self.path(key).is_file()

    def get(self, key: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The arrays of a key.

        Raises:
            DataError: missing, damaged, or the file of another key.
        """
        path = self.path(key)
        hint = f"delete {path}; it is recomputed"
        held = read_npz(path, hint=hint)
        name = held.pop("_key", np.array(None))
        stored = documents.parse_json(str(name), f"{path}: cannot be read: array '_key'", hint=hint)
        if stored != json.loads(json.dumps(key)):
            raise DataError(f"{path}: contains the result of another key", hint=hint)
        return held

    def put(self, key: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Write the arrays of a key; the first call removes what killed processes left."""
        if not self._tidy:
            remove_dead_leftovers(self.folder)
            self._tidy = True
        write_npz(self.path(key), {"_key": np.array(json.dumps(key)), **arrays})


def read_npz(path: Path, *, hint: str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an .npz; pickles are not read.

    Args:
        path: the file.
        hint: next step for the error.
        names: arrays to read; None reads all. A name that the file lacks is left out.

    Raises:
        DataError: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if names is None or name in names}
    except (*_DAMAGED, MemoryError) as error:  # a damaged header may state any size
        raise DataError(f"{path}: cannot be read: {error}", hint=hint) from error


# What numpy, zipfile and zlib raise for damaged files; a .npy in place of an .npz has no `files`.
_DAMAGED = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    OverflowError,
)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as one compressed .npz, atomically; missing folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
