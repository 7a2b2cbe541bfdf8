"""MATLAB files (version 7 and older) with errors that name the file; version 7.3 (HDF5) is not read.

A damaged file can end scipy's reader by SIGSEGV. It therefore runs in a child process (`runtime.native`), which sends
numbers, texts, cells and structs back as plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError
from imu_video.runtime.native import ChildDied, Refused, Room, call
from imu_video.runtime.workers import WorkerLost

_HINT = "copy or download the file again"
_DEEPEST = 40  # structs in structs


class Struct:
    """A MATLAB struct: its fields are attributes; ``_fieldnames`` lists them.

    Args:
        fields: values by name.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fieldnames = list(fields)
        self.__dict__.update(fields)


def load_mat(path: Path, key: str) -> np.ndarray:
    """One array of numbers of a MATLAB file.

    Raises:
        RecordingError: missing or damaged file, or no such array in it.
    """
    found = _load(path, key, squeezed=False)
    if not isinstance(found, np.ndarray) or found.dtype == object:
        raise RecordingError(f"{path}: {key!r} is {type(found).__name__}, expected an array of numbers")
    return found


def load_struct(path: Path, key: str) -> Any:
    """One struct of a MATLAB file, fields as attributes and singleton dimensions removed.

    Raises:
        RecordingError: missing or damaged file, or no such struct in it.
    """
    found = _load(path, key, squeezed=True)
    if not isinstance(found, Struct):
        raise RecordingError(f"{path}: {key!r} is {type(found).__name__}, expected a struct")
    return found


def _load(path: Path, key: str, *, squeezed: bool) -> Any:
    if not path.is_file():
        raise RecordingError(f"{path}: no such file")
    arguments = {"path": str(path.absolute()), "key": key, "squeezed": squeezed}
    try:
        answer, numbers = call(f"{__name__}:read_mat", arguments)
    except Refused as refused:
        # Damaged files make scipy raise about a dozen types of errors, including IndexError.
        text = str(refused) if refused.facts["kind"] == "MatlabFault" else f"not a readable MATLAB file: {refused}"
        raise RecordingError(f"{path}: {text}", hint=_HINT) from None
    except ChildDied as died:
        if died.outside:
            raise WorkerLost(f"the reader of {path} was {died}, twice: out of memory, or killed") from died
        raise RecordingError(f"{path}: not a readable MATLAB file: reader {died}", hint=_HINT) from died
    assert numbers is not None
    return _value(answer["value"], numbers)


def _value(plain: Any, numbers: np.ndarray) -> Any:
    """The value that `_plain` describes."""
    if not isinstance(plain, dict):
        return plain
    if "numbers" in plain:
        begin, shape, dtype = plain["numbers"]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        array = numbers[begin : begin + size].view(dtype)
        array = array.reshape(shape[::-1]).T if plain["by_columns"] else array.reshape(shape)
        return array if shape or not plain["scalar"] else array.item()
    if "cells" in plain:
        cells = np.empty(len(plain["cells"]), dtype=object)
        cells[:] = [_value(cell, numbers) for cell in plain["cells"]]
        return cells.reshape(plain["shape"])
    return Struct({name: _value(value, numbers) for name, value in plain["struct"].items()})


# ------------------------------------------------------------------------------------------------------ in the child


class MatlabFault(Exception):
    """A file without the value, or with one that is not read."""


def read_mat(arguments: Mapping[str, Any], data: bytes, room: Room) -> tuple[dict[str, Any], np.ndarray]:
    """Read one variable; arrays of numbers are sent as bytes, one after the other."""
    from scipy.io import loadmat

    key = arguments["key"]
    options = {"squeeze_me": True, "struct_as_record": False} if arguments["squeezed"] else {}
    content = loadmat(arguments["path"], variable_names=[key], **options)
    if key not in content:
        raise MatlabFault(f"no array {key!r}")
    pieces: list[np.ndarray] = []
    value = _plain(content[key], pieces, 0)
    numbers = room((sum(piece.nbytes for piece in pieces),), np.uint8)
    at = 0
    for piece in pieces:
        numbers[at : at + piece.nbytes] = piece.reshape(-1).view(np.uint8)
        at += piece.nbytes
    return {"value": value}, numbers


def _plain(value: Any, pieces: list[np.ndarray], depth: int) -> Any:
    """A value of scipy as JSON, its numbers appended to ``pieces``."""
    if depth > _DEEPEST:
        raise MatlabFault(f"more than {_DEEPEST} structs and cells inside each other")
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "_fieldnames"):
        fields = {str(name): _plain(getattr(value, name), pieces, depth + 1) for name in value._fieldnames}
        return {"struct": fields}
    array = np.asarray(value)
    if array.dtype == object:
        cells = [_plain(cell, pieces, depth + 1) for cell in array.reshape(-1).tolist()]
        return {"cells": cells, "shape": array.shape}
    if array.dtype.kind == "U":
        texts = array.reshape(-1).tolist()
        return texts[0] if len(texts) == 1 else {"cells": texts, "shape": array.shape}
    if array.dtype.kind not in "biuf":
        raise MatlabFault(f"a value of type {array.dtype}, expected numbers, texts, cells or structs")
    # Every piece begins at a multiple of 16 bytes, where any type of number can be read.
    begin = sum(piece.nbytes for piece in pieces)
    # The order in memory is kept: sums over an array in another order differ in the last digit.
    by_columns = array.flags.f_contiguous and not array.flags.c_contiguous
    pieces += [np.ascontiguousarray(array.T if by_columns else array), np.zeros(-array.nbytes % 16, np.uint8)]
    facts = {"scalar": not isinstance(value, np.ndarray), "by_columns": by_columns}
    return {"numbers": [begin, array.shape, array.dtype.str], **facts}
