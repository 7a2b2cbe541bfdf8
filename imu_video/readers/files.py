"""Files of loggers as bytes with a size limit, and clocks without a zone; archives are in members.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from imu_video.errors import RecordingError

MAX_BYTES = 4 << 30
"""Largest file that a reader takes into memory."""


def read_bytes(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """The whole file.

    Raises:
        RecordingError: missing, unreadable, empty or larger than ``limit`` bytes.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise RecordingError(
                f"{path}: {size / 2**30:.1f} GiB, expected at most {limit / 2**30:.1f} GiB",
                hint="export the recording in parts",
            )
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise RecordingError(f"{path}: the file is empty", hint="copy it from the device again")
    return data


def finite(values: np.ndarray) -> np.ndarray:
    """Values with NaN in place of infinite ones, which damaged numbers give.

    Example:
        >>> finite(np.array([1.0, np.inf])).tolist()
        [1.0, nan]
    """
    return np.where(np.isfinite(values), values, np.nan)


def start_of(first: float) -> tuple[float, dict[str, str]]:
    """Zero of a reading whose device writes local time without a zone: the first sample, and the tag that states it.

    Args:
        first: time of the first sample as POSIX seconds, as if the local time were UTC.

    Example:
        >>> start_of(1580560205.25)
        (1580560205.25, {'start_local': '2020-02-01 12:30:05.250'})
    """
    return first, {"start_local": local_time(first)}


def local_time(seconds: float) -> str:
    """Date and time in milliseconds of POSIX seconds.

    Example:
        >>> local_time(0.0)
        '1970-01-01 00:00:00.000'
    """
    try:
        return datetime.fromtimestamp(round(seconds, 3), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError) as error:
        raise RecordingError(f"{seconds:g} s since 1970 is no date") from error
