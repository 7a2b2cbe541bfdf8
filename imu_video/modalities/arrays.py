"""float32 arrays to the bytes of a shard member and back; the modalities define the shape of each member."""

from __future__ import annotations

import io
import math
import struct
from functools import lru_cache

import numpy as np

from imu_video.errors import ShardError

_FLOAT = np.dtype("<f4")


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
    try:
        array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, MemoryError, TypeError, struct.error) as error:
        raise ShardError(f"member {name!r}: not a readable .npy array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        seen = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ShardError(f"member {name!r}: {seen}, expected {shape} float32")
    return array


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """Bytes before the values; cached, because a build has only a few window shapes."""
    buffer = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
