"""Shared functions of adapters: find the folder, select subjects, merge sensors; no file formats."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imu_video.errors import ConfigError, RecordingError, nearest


def existing_folder(root: str | Path, *, dataset: str, hint: str) -> Path:
    """The folder as a path, after checking that it exists.

    Raises:
        RecordingError: no such folder; the hint explains how to obtain the data.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise RecordingError(f"{dataset}: no folder {folder}", hint=hint)
    return folder


def chosen(wanted: list[str] | None, known: Iterable[str], *, dataset: str) -> set[str]:
    """The subjects to read: all known ones when None.

    Raises:
        ConfigError: an unknown subject.
    """
    everybody = set(known)
    if wanted is None:
        return everybody
    for subject in wanted:
        if subject not in everybody:
            raise ConfigError(f"{dataset} has no subject {subject!r}{nearest(subject, everybody)}")
    return set(wanted)


def union_of_times(
    acc: tuple[np.ndarray, np.ndarray], gyr: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Merge accelerometer and gyroscope with different clocks; each is NaN at the times of the other one.

    Args:
        acc, gyr: times (T,) in seconds and values (3, T).

    Returns:
        Times (T',) and values (6, T') in canonical channel order.

    Example:
        >>> times, values = union_of_times((np.array([0.0, 1.0]), np.ones((3, 2))), (np.array([0.5]), np.ones((3, 1))))
        >>> times.tolist(), values[[0, 3]].tolist()
        ([0.0, 0.5, 1.0], [[1.0, nan, 1.0], [nan, 1.0, nan]])
    """
    times = np.union1d(acc[0], gyr[0])
    values = np.full((6, len(times)), np.nan)
    values[:3, np.searchsorted(times, acc[0])] = acc[1]
    values[3:, np.searchsorted(times, gyr[0])] = gyr[1]
    return times, values


def runs(values: np.ndarray) -> list[tuple[int, int]]:
    """First index and end of each run of equal values.

    Example:
        >>> runs(np.array([1, 1, 2, 1]))
        [(0, 2), (2, 3), (3, 4)]
    """
    if len(values) == 0:
        return []
    cuts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return list(itertools.pairwise(cuts))
