"""Arrays in .npy files that are compared with hashes before they are used; array_files.py writes them.

A derived array (columns, teacher features) is read through a memory map. Its description, `ArrayFacts`, is stored in
the meta file of its folder: shape, type, size, statistics, the sha256 of the file, and the CRC-32 of the header and of
every block of rows. Each block is read and compared once, before its first use. CRC-32 finds every changed bit and
every changed run of up to 32 bits, and misses other damage of a block with a probability of 2^-32; of the hashes of the
standard library it is the fastest (2.5 GB/s for blocks of 256 KiB, SHA-256 1.5 GB/s). `verify` compares the SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from pydantic import Field, model_validator

from imu_video.config import Config

BLOCK_BYTES = 1 << 18
"""Largest size of a block in bytes; a block has at least one row."""
Refuse = Callable[[str], Exception]
"""Makes the error for a damaged array from the reason; adds the file and the command that makes it again."""
_HEADER_LIMIT = 4096  # bytes; the header of an array without names of fields has 128
_HASH_BYTES = 1 << 20  # bytes that are read at a time for the hash of a file
SEAL = "seal"
"""Key of a meta file with the hash of its other content."""


class Statistics(Config):
    """Range and distribution of the finite values of an array or of one of its channels; None where it has none."""

    min: float | None = Field(allow_inf_nan=False)
    max: float | None = Field(allow_inf_nan=False)
    mean: float | None = Field(allow_inf_nan=False)
    sd: float | None = Field(allow_inf_nan=False)
    finite: int = Field(ge=0)
    non_finite: int = Field(ge=0)


class ArrayFacts(Config):
    """Description of a derived array in the meta file of its folder.

    Args:
        shape: axes of the array; the first one is rows.
        dtype: numpy's name of the little-endian type, such as ``<f4``.
        bytes: size of the file.
        header: bytes before the first row.
        block_rows: rows per block; the last block may have fewer.
        crc32: 8 hex digits of the header, then 8 of each block.
        sha256: of the whole file.
        statistics: of each channel, ``<placement>.<channel>``, or of the whole array, ``all``.
    """

    shape: tuple[int, ...] = Field(min_length=1)
    dtype: Literal["<f2", "<f4", "<f8", "<i4", "<i8", "|b1", "|u1"]
    bytes: int = Field(ge=0)
    header: int = Field(ge=10, le=_HEADER_LIMIT)
    block_rows: int = Field(ge=1)
    crc32: str = Field(pattern="^([0-9a-f]{8})+$", repr=False)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    statistics: dict[str, Statistics]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(axis < 0 for axis in self.shape):
            raise ValueError(f"shape {list(self.shape)} has a negative axis")
        if self.bytes != self.header + math.prod(self.shape) * np.dtype(self.dtype).itemsize:
            raise ValueError(f"{self.bytes} bytes do not hold {list(self.shape)} {self.dtype}")
        if len(self.crc32) != 8 * (1 + self.blocks):
            raise ValueError(f"{len(self.crc32) // 8} hashes, expected {1 + self.blocks}")
        return self

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.shape[0] // self.block_rows)

    def plain(self) -> dict[str, Any]:
        """The content as JSON."""
        return self.model_dump(mode="json")


class CheckedArray(NDArrayOperatorsMixin):
    """An (N, ...) array in a .npy file, read-only; each block of rows is checked before its first use.

    It is indexed like an array and gives arrays. ``np.asarray`` and the functions and methods of numpy check all rows
    first. `plain` gives the memory map for code that calls `check` itself.

    Args:
        path: the file.
        facts: its description; None for a file of an earlier version without hashes of blocks.
        refuse: makes the error for a damaged file from the reason.
        sha256: without facts: hash of the whole file, compared on first use; None where it is not known.
        dtypes: without facts: accepted types.
        examine: without facts: reason why the values of some rows cannot be right, or None.

    Raises:
        FileNotFoundError: no such file.
        Exception: made by ``refuse``: not a file, another size, another header.
    """

    def __init__(
        self,
        path: Path,
        facts: ArrayFacts | None,
        *,
        refuse: Refuse,
        sha256: str | None = None,
        dtypes: tuple[str, ...] = (),
        examine: Callable[[np.ndarray], str | None] | None = None,
    ) -> None:
        self.path, self.facts = path, facts
        self._refuse, self._sha256, self._examine = refuse, sha256, examine
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise refuse("is not a file")
        self._file = os.fdopen(number, "rb", buffering=0)
        self._size = os.fstat(number).st_size
        if facts is not None and self._size != facts.bytes:
            raise refuse(f"has {self._size} bytes, expected {facts.bytes}")
        head = self._bytes(0, min(self._size, _HEADER_LIMIT if facts is None else facts.header))
        if facts is not None:
            self._sums = np.frombuffer(bytes.fromhex(facts.crc32), ">u4")
            if zlib.crc32(head) != self._sums[0]:
                raise refuse(_difference(head, facts))
            shape, dtype, offset, block_rows = facts.shape, np.dtype(facts.dtype), facts.header, facts.block_rows
        else:
            shape, dtype, offset = self._parsed(head, dtypes)
            # One hash covers the whole file, so that it is one block.
            block_rows = shape[0] if sha256 is not None else _block_rows(shape, dtype)
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self._offset, self._block_rows = offset, max(1, block_rows)
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        empty = not math.prod(shape)
        # A plain view, because indexing an object of numpy's memmap costs more than the copy of a row.
        self.plain: np.ndarray = (
            np.empty(shape, dtype)
            if empty
            else np.asarray(np.memmap(self._file, dtype=dtype, mode="r", offset=offset, shape=shape))
        )
        self._checked = np.zeros(0 if empty else -(-shape[0] // self._block_rows), dtype=bool)
        self._left = len(self._checked)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return self.size * self.dtype.itemsize

    def check(self, rows: slice | np.ndarray | None = None) -> None:
        """Compare the blocks that hold some rows with their hashes; blocks that were compared before are not read.

        Args:
            rows: (B,) row numbers, or a slice with a positive step; None: all.

        Raises:
            Exception: made by ``refuse``: a block that differs, or a file that was truncated after it was opened.
        """
        # Reading a truncated file through its memory map would end the process by SIGBUS.
        if os.fstat(self._number).st_size != self._size:
            raise self._refuse(f"has {os.fstat(self._number).st_size} bytes, had {self._size} when it was opened")
        if not self._left:
            return
        if rows is None:
            wanted = np.arange(len(self._checked))
        elif isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            wanted = np.arange(start // self._block_rows, -(-stop // self._block_rows) if start < stop else 0)
        else:
            wanted = rows // self._block_rows
        buffer = bytearray()
        for block in np.unique(wanted[~self._checked[wanted]]).tolist():
            buffer = buffer or bytearray(self._block_rows * self._row_bytes if self.facts is not None else 0)
            self._check_block(block, buffer)
            self._checked[block] = True
        self._left = int(len(self._checked) - np.count_nonzero(self._checked))

    def check_file(self) -> None:
        """Compare every block, read again, and the sha256 of the whole file, where they are known.

        Raises:
            Exception: made by ``refuse``.
        """
        self._checked[:] = False
        self._left = len(self._checked)
        self.check()
        if self.facts is not None and self.facts.sha256 != self._hash():
            raise self._refuse("its sha256 differs from the one that was written")

    @property
    def hashed(self) -> Literal["blocks", "file", "no"]:
        """What is compared with hashes."""
        return "blocks" if self.facts is not None else "file" if self._sha256 is not None else "no"

    def __getitem__(self, key: Any) -> Any:
        self.check(_rows_of(key, len(self)))
        return self.plain[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.check()
        found = self.plain if dtype is None else self.plain.astype(dtype, copy=False)
        return found.copy() if copy else found

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(one) if isinstance(one, CheckedArray) else one for one in inputs]
        return getattr(ufunc, method)(*plain, **options)

    def __getattr__(self, name: str) -> Any:
        # Methods of arrays (`mean`, `astype`, `tolist` ...) read everything. Names of protocols are not passed on:
        # some of them hand out the memory without a check.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(np.asarray(self), name)

    def __repr__(self) -> str:
        return f"CheckedArray({str(self.path)!r}, shape={self.shape}, dtype={self.dtype.str!r})"

    def __reduce__(self) -> Any:
        # A memory map is copied when it is sent to another process, and so are these rows.
        return np.array, (np.array(self),)

    @property
    def _number(self) -> int:
        return self._file.fileno()

    def _bytes(self, at: int, count: int) -> bytes:
        """Bytes of the file, read and not mapped: what is missing or unreadable is then an error and not a signal."""
        return bytes(self._into(bytearray(count), at, count))

    def _into(self, buffer: bytearray, at: int, count: int) -> memoryview:
        """Read into the first bytes of a buffer, which spares the faults of a new one for every block."""
        view, done = memoryview(buffer)[:count], 0
        try:
            while done < count and (more := os.preadv(self._number, [view[done:]], at + done)):
                done += more
        except OSError as error:
            raise self._refuse(f"cannot be read: {error.strerror}") from error
        if done < count:
            raise self._refuse(f"ends at byte {at + done}, expected {self._size} bytes")
        return view

    def _check_block(self, block: int, buffer: bytearray) -> None:
        first, last = block * self._block_rows, min((block + 1) * self._block_rows, len(self))
        if self.facts is None:
            if self._sha256 is not None and self._hash() != self._sha256:
                raise self._refuse("its sha256 differs from the one that was written")
            for begin in range(first, last, step := _block_rows(self.shape, self.dtype)):
                reason = self._examine(self.plain[begin : min(begin + step, last)]) if self._examine else None
                if reason:
                    raise self._refuse(f"rows {begin} to {min(begin + step, last) - 1}: {reason}")
        else:
            data = self._into(buffer, self._offset + first * self._row_bytes, (last - first) * self._row_bytes)
            if zlib.crc32(data) != self._sums[1 + block]:
                raise self._refuse(f"rows {first} to {last - 1} are not those that were written (their hash differs)")

    def _hash(self) -> str:
        sha256, buffer = hashlib.sha256(), bytearray(min(_HASH_BYTES, self._size))
        for at in range(0, self._size, _HASH_BYTES):
            sha256.update(self._into(buffer, at, min(_HASH_BYTES, self._size - at)))
        return sha256.hexdigest()

    def _parsed(self, head: bytes, dtypes: tuple[str, ...]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        """Shape, type and offset from the header of a file without description."""
        try:
            shape, fortran, dtype, offset = _parse_header(head)
        except ValueError as error:
            raise self._refuse(f"is not a .npy file: {error}") from error
        if fortran or dtype.str not in dtypes or not shape:
            order = "Fortran order" if fortran else "C order"
            raise self._refuse(f"holds {dtype.str} {list(shape)} in {order}, expected {' or '.join(dtypes)} in C order")
        size = offset + math.prod(shape) * dtype.itemsize
        if self._size != size:
            raise self._refuse(f"has {self._size} bytes, its header describes {size}")
        return shape, dtype, offset


def plain(array: np.ndarray | CheckedArray) -> np.ndarray:
    """The array without checks, for code that calls `check_rows` before it reads."""
    return array.plain if isinstance(array, CheckedArray) else np.asarray(array)


def check_rows(array: np.ndarray | CheckedArray, rows: np.ndarray) -> None:
    """Check the blocks that hold some rows; does nothing for an array in memory.

    Raises:
        Exception: see `CheckedArray.check`.
    """
    if isinstance(array, CheckedArray):
        array.check(rows)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a meta file with the hash of its canonical JSON, which `seal_of` compares.

    Example:
        >>> content = sealed({"version": 4})
        >>> content["seal"] == seal_of(content), seal_of({**content, "version": 5}) == content["seal"]
        (True, False)
    """
    return {**content, SEAL: seal_of(content)}


def seal_of(content: Mapping[str, Any]) -> str:
    """16 hex digits of a hash of a meta file's content without its seal."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def header_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Header of a .npy file in C order."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _block_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * dtype.itemsize))


def _parse_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, Fortran order, type and length of a header; ValueError where it is none."""
    buffer = io.BytesIO(head)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ValueError("a header of another version")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer, max_header_size=_HEADER_LIMIT)
    except Exception as error:  # numpy evaluates the header as a literal, and passes on whatever fails there
        raise ValueError(f"a damaged header ({type(error).__name__})") from error
    if dtype.hasobject:
        raise ValueError("Python objects")
    return shape, fortran, dtype, buffer.tell()


def _difference(head: bytes, facts: ArrayFacts) -> str:
    """What a header says instead of what was written."""
    try:
        shape, fortran, dtype, _ = _parse_header(head)
    except ValueError as error:
        return f"is not a .npy file: {error}"
    order = "Fortran order" if fortran else "C order"
    return f"holds {dtype.str} {list(shape)} in {order}, expected {facts.dtype} {list(facts.shape)} in C order"


def _rows_of(key: Any, length: int) -> slice | np.ndarray | None:
    """Rows that an index reads; None: possibly all."""
    first = key[0] if isinstance(key, tuple) and key else key
    if isinstance(first, slice):
        start, stop, step = first.indices(length)
        return first if step > 0 else slice(max(0, stop + 1), min(length, start + 1))
    if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
        return np.array([first]) % length if -length <= first < length else None
    if isinstance(first, (np.ndarray, list)):
        rows = np.asarray(first)
        if rows.dtype == bool and rows.ndim == 1:
            return np.flatnonzero(rows)
        if np.issubdtype(rows.dtype, np.integer) and ((rows >= -length) & (rows < length)).all():
            return rows.ravel() % length
    return None
