"""Windows of several folders as one array, and statistics over rows of features; both are read in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from imu_video.shards.reading.array_files import RunningStatistics
from imu_video.shards.reading.arrays import CheckedArray, Statistics
from imu_video.shards.reading.columns import Columns

_WINDOWS = 64  # windows per read: a few hundred kilobytes, which stay in the cache of the processor
_PIECE = 4096  # rows per read: a memory map of any size is summed in a few megabytes


class DeviceWindows:
    """Some devices of an (N, V, C, T) memory map, read in pieces along N.

    Args:
        imu: windows of all devices of a split.
        devices: indices on the V axis.

    Example:
        >>> some = DeviceWindows(np.zeros((4, 3, 6, 10)), [2, 0])
        >>> some.shape, some[1:3].shape
        ((4, 2, 6, 10), (2, 2, 6, 10))
    """

    def __init__(self, imu: np.ndarray | CheckedArray, devices: Sequence[int]) -> None:
        self._imu, self._devices = imu, list(devices)
        self.shape = (len(imu), len(self._devices), *imu.shape[2:])
        self.ndim = imu.ndim

    def __len__(self) -> int:
        return len(self._imu)

    def __getitem__(self, rows: slice) -> np.ndarray:
        # Rows first: a slice of a memory map is a view, so that selecting devices reads these rows only.
        return np.asarray(self._imu[rows][:, self._devices])


class JoinedWindows:
    """Concatenated windows of several splits, (N, C, T), with one row per device of a sample.

    Args:
        parts: windows of each split, equal in C and T; their numbers of devices may differ.

    Example:
        >>> first, second = (DeviceWindows(np.full((2, 2, 6, 10), i), range(i)) for i in (1, 2))
        >>> joined = JoinedWindows([first, second])
        >>> joined.shape, joined[1:4][:, 0, 0].tolist()
        ((6, 6, 10), [1, 2, 2])
    """

    def __init__(self, parts: Sequence[DeviceWindows]) -> None:
        self._parts = [part for part in parts if part.shape[1]]
        self._sizes = [len(part) * part.shape[1] for part in self._parts]
        self.shape = (sum(self._sizes), *parts[0].shape[2:])
        self.ndim = 3

    def __len__(self) -> int:
        return sum(self._sizes)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        found, begin = [], 0
        for part, size in zip(self._parts, self._sizes, strict=True):
            devices = part.shape[1]
            low, high = max(start - begin, 0), min(stop - begin, size)
            if low < high:
                # Whole samples are read, then cut to the rows: a range may start or end between two devices of one.
                first, last = low // devices, -(-high // devices)
                flat = part[slice(first, last)].reshape(-1, *self.shape[1:])
                found.append(flat[low - first * devices : high - first * devices])
            begin += size
        return np.concatenate(found)


def windows_of(columns: Sequence[Columns], placements: Sequence[str] | None = None) -> DeviceWindows | JoinedWindows:
    """Windows of selected devices of one split, or of the splits of several folders, as one array.

    Args:
        columns: the split in each folder, at least one.
        placements: devices; None = all of each folder. A folder may lack some of them.

    Shapes: (N, V, C, T) of one folder, (N, C, T) of several.
    """
    parts = []
    for split in columns:
        wanted = placements or split.placements
        parts.append(DeviceWindows(split.imu, [split.placements.index(p) for p in wanted if p in split.placements]))
    return parts[0] if len(parts) == 1 else JoinedWindows(parts)


def channel_statistics(columns: Columns, placements: Sequence[str] | None = None) -> dict[str, Statistics]:
    """Statistics of every channel of a split's windows, ``<placement>.<channel>``, read in pieces.

    They are of the values themselves and not those of the meta file: a folder may be of a version without them.

    Args:
        columns: the split.
        placements: devices; None = all. Those that the folder lacks are left out.
    """
    names = [name for name in columns.placements if placements is None or name in placements]
    devices = [columns.placements.index(name) for name in names]
    running = RunningStatistics([f"{name}.{channel}" for name in names for channel in columns.channels])
    for first in range(0, len(columns), _WINDOWS):
        piece = columns.imu[first : first + _WINDOWS][:, devices]
        running.add(piece.reshape(len(piece), len(names) * len(columns.channels), -1))
    return running.statistics()


def window_motion(columns: Columns, placements: Sequence[str] | None = None) -> np.ndarray:
    """Standard deviation over time of every window's acceleration: the mean over axes and over the devices worn.

    Args:
        columns: a split, read in pieces.
        placements: devices; None = all. Those that the folder lacks are left out.

    Shapes: (N,) float64 in m/s^2; 0 for a window without a measured sample. Without an accelerometer all channels
        count.
    """
    names = [name for name in columns.placements if placements is None or name in placements]
    devices = [columns.placements.index(name) for name in names]
    channels = [i for i, name in enumerate(columns.channels) if name.startswith("acc")] or list(
        range(len(columns.channels))
    )
    out = np.zeros(len(columns))
    for first in range(0, len(columns), _WINDOWS):
        piece = np.asarray(columns.imu[first : first + _WINDOWS][:, devices][:, :, channels], np.float64)
        known = np.isfinite(piece)
        count = known.sum(-1)
        values = np.where(known, piece, 0)
        mean = values.sum(-1) / np.maximum(count, 1)
        square = np.where(known, (values - mean[..., None]) ** 2, 0).sum(-1) / np.maximum(count, 1)
        measured = (count > 0).sum((1, 2))
        out[first : first + _WINDOWS] = np.sqrt(square).sum((1, 2)) / np.maximum(measured, 1)
    return out


def feature_statistics(read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of some rows of features, summed in float64.

    Args:
        read: gives (M, Dt) features of (M,) rows; called twice per row, so that nothing is held.
        rows: (N,) rows to use, at least one.

    Shapes: two (Dt,) float32.

    Example:
        >>> features = np.array([[0.0], [2.0], [9.0]])
        >>> [t.tolist() for t in feature_statistics(features.__getitem__, np.array([0, 1]))]
        [[1.0], [1.0]]
    """
    pieces = [rows[i : i + _PIECE] for i in range(0, len(rows), _PIECE)]
    # Two passes: the mean square minus the squared mean would cancel digits where a mean is large.
    mean = sum(read(p).astype(np.float64).sum(axis=0) for p in pieces) / len(rows)
    variance = sum(((read(p).astype(np.float64) - mean) ** 2).sum(axis=0) for p in pieces) / len(rows)
    return torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(variance)).float()
