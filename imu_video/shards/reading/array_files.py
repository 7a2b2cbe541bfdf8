"""Writing of .npy files with hashes per block and statistics; arrays.py reads and checks them."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from imu_video.shards.reading.arrays import BLOCK_BYTES, ArrayFacts, Statistics, header_of

_PIECE = 1 << 18  # bytes that are summed and hashed at a time, so that they stay in the cache of the processor


class ArrayWriter:
    """A .npy file of known shape that is written row by row, with its hashes and statistics.

    Args:
        path: a new file.
        shape: axes of the array; the first one is rows.
        dtype: numpy's name of a little-endian type.
        names: channels whose statistics are kept apart: the names of the axes after the rows, flattened; the axes that
            they do not cover are summed up. Without names the array has one set of statistics, ``all``.

    Example:
        >>> import tempfile
        >>> with ArrayWriter(Path(tempfile.mkdtemp()) / "a.npy", (2, 3), "<f4") as writer:
        ...     writer.write(np.ones((2, 3), np.float32))
        >>> writer.facts.shape, writer.facts.statistics["all"].mean
        ((2, 3), 1.0)
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str, *, names: Sequence[str] = ("all",)) -> None:
        self._shape, self._dtype, self._names = tuple(map(int, shape)), np.dtype(dtype), tuple(names)
        row_bytes = math.prod(self._shape[1:]) * self._dtype.itemsize
        self._block_rows = max(1, BLOCK_BYTES // max(1, row_bytes))
        self._piece_rows = max(1, _PIECE // max(1, row_bytes) // self._block_rows) * self._block_rows
        self._block_bytes = self._block_rows * row_bytes
        self._header = header_of(self._shape, self._dtype)
        self._sha256, self._sums = hashlib.sha256(self._header), [zlib.crc32(self._header)]
        self._crc, self._open, self._rows = 0, 0, 0
        self._running = RunningStatistics(self._names)
        self._file = path.open("xb")
        self._file.write(self._header)
        self._facts: ArrayFacts | None = None

    def write(self, rows: np.ndarray) -> None:
        """Append some rows.

        Raises:
            ValueError: rows of another shape, or more than the array has.
        """
        if rows.shape[1:] != self._shape[1:] or self._rows + len(rows) > self._shape[0]:
            raise ValueError(f"rows {rows.shape} after {self._rows} do not fit an array {self._shape}")
        for first in range(0, len(rows), self._piece_rows):
            piece = np.ascontiguousarray(rows[first : first + self._piece_rows], self._dtype)
            self._running.add(piece.reshape(len(piece), len(self._names), -1))
            data = piece.data.cast("B") if piece.size else memoryview(b"")
            self._sha256.update(data)
            self._file.write(data)
            at = 0
            while at < len(data):
                part = data[at : at + self._block_bytes - self._open]
                self._crc, self._open, at = zlib.crc32(part, self._crc), self._open + len(part), at + len(part)
                if self._open == self._block_bytes:
                    self._end_block()
        self._rows += len(rows)

    def _end_block(self) -> None:
        self._sums.append(self._crc)
        self._crc = self._open = 0

    @property
    def facts(self) -> ArrayFacts:
        """Description of the finished file.

        Raises:
            ValueError: the file is not closed.
        """
        if self._facts is None:
            raise ValueError("the array is not complete")
        return self._facts

    def close(self) -> None:
        """Close the file.

        Raises:
            ValueError: rows are missing.
        """
        self._file.close()
        if self._rows != self._shape[0]:
            raise ValueError(f"{self._rows} rows were written, expected {self._shape[0]}")
        if self._open:
            self._end_block()
        self._facts = ArrayFacts(
            shape=self._shape,
            dtype=self._dtype.str,
            bytes=len(self._header) + math.prod(self._shape) * self._dtype.itemsize,
            header=len(self._header),
            block_rows=self._block_rows,
            crc32="".join(f"{one:08x}" for one in self._sums),
            sha256=self._sha256.hexdigest(),
            statistics=self._running.statistics(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def save_array(path: Path, array: np.ndarray, *, names: Sequence[str] = ("all",)) -> ArrayFacts:
    """Write an array to a new .npy file in C order; returns its description.

    Args:
        path: a new file.
        array: at least one axis; its type becomes little-endian.
        names: see `ArrayWriter`.
    """
    with ArrayWriter(path, array.shape, array.dtype.newbyteorder("<").str, names=names) as writer:
        writer.write(array)
    return writer.facts


class RunningStatistics:
    """Statistics of several channels, summed in float64 over pieces of any size.

    Args:
        names: of the channels.

    Example:
        >>> running = RunningStatistics(["x"])
        >>> running.add(np.array([[[1.0, 3.0, np.nan]]]))
        >>> running.statistics()["x"].mean, running.statistics()["x"].non_finite
        (2.0, 1)
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names, channels = tuple(names), len(names)
        self._sum, self._squares = np.zeros(channels), np.zeros(channels)
        self._min, self._max = np.full(channels, np.inf), np.full(channels, -np.inf)
        self._finite, self._count = np.zeros(channels, np.int64), 0

    def add(self, values: np.ndarray) -> None:
        """Add (N, channels, samples) values; those that are not finite are only counted."""
        if not values.size:
            return
        axes = (0, 2)
        finite = np.isfinite(values)
        self._count += values.shape[0] * values.shape[2]
        if finite.all():
            self._finite += values.shape[0] * values.shape[2]
            low, high = values.min(axis=axes), values.max(axis=axes)
        else:
            self._finite += finite.sum(axis=axes)
            low = np.where(finite, values, np.inf).min(axis=axes)
            high = np.where(finite, values, -np.inf).max(axis=axes)
            values = np.where(finite, values, 0)
        self._min, self._max = np.minimum(self._min, low), np.maximum(self._max, high)
        wide = values.astype(np.float64, copy=False)
        self._sum += wide.sum(axis=axes)
        self._squares += np.square(wide).sum(axis=axes)

    def statistics(self) -> dict[str, Statistics]:
        """The statistics of each channel."""
        found = {}
        for i, (name, count) in enumerate(zip(self._names, self._finite.tolist(), strict=True)):
            if not count:
                empty = Statistics(min=None, max=None, mean=None, sd=None, finite=0, non_finite=self._count)
                found[name] = empty
                continue
            mean = self._sum[i] / count
            sd = math.sqrt(max(0.0, self._squares[i] / count - mean**2))
            found[name] = Statistics(
                min=float(self._min[i]),
                max=float(self._max[i]),
                mean=float(mean),
                sd=sd,
                finite=count,
                non_finite=self._count - count,
            )
        return found
