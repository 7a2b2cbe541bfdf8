"""float32 arrays to the bytes of a shard member and back; the modalities define the shape of each member."""

from __future__ import annotations

import io
import math
import struct
import tokenize
from functools import lru_cache
from typing import Literal

import numpy as np

from imu_video.errors import ShardError

_FLOAT = np.dtype("<f4")
_DAMAGED = (
    ValueError, EOFError, SyntaxError, TypeError, OverflowError, RecursionError, struct.error, tokenize.TokenError,
)  # fmt: skip
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npy_bytes(array: np.ndarray) -> bytes:
    """The array as a version 1.0 .npy file, little endian and C order on every machine.

    Example:
        >>> len(npy_bytes(np.zeros((6, 100), np.float32)))
        2528
    """
    little = array if array.dtype == _FLOAT else array.astype(array.dtype.newbyteorder("<"))
    return _header(little.shape, little.dtype.str) + little.tobytes()


def decode_array(data: bytes, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 .npy member of known shape.

    Args:
        data: bytes of the member.
        name: full name of the member, for errors.
        shape: axes that the index declares.

    Raises:
        ShardError: not a .npy file, pickled objects, or another type or shape.
    """
    header = _header(shape, _FLOAT.str)
    # Members that this package wrote have exactly this header: parsing it would cost more than the copy.
    if data.startswith(header) and len(data) == len(header) + 4 * math.prod(shape):
        return np.frombuffer(data, dtype=_FLOAT, offset=len(header)).reshape(shape).astype(np.float32)
    buffer = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(buffer)
        if version not in _READERS:
            raise ValueError(f"version {version}")
        seen, columns_first, dtype = _READERS[version](buffer)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
    # The header is text that numpy's parser, and in old files Python's tokenizer, turn into values.
    except _DAMAGED as error:
        raise ShardError(f"member {name!r}: not a readable .npy array: {error}") from error
    # Compared before anything is allocated: the header may state any size.
    if dtype != np.float32 or seen != shape:
        raise ShardError(f"member {name!r}: {seen} {dtype}, expected {shape} float32")
    values, expected = data[buffer.tell() :], 4 * math.prod(shape)
    if len(values) != expected:
        raise ShardError(f"member {name!r}: {len(values)} bytes of values, expected {expected}")
    order: Literal["C", "F"] = "F" if columns_first else "C"
    return np.frombuffer(values, dtype=_FLOAT).reshape(shape, order=order).astype(np.float32, order="C")


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """Bytes before the values; cached, because a build has only a few window shapes."""
    buffer = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
