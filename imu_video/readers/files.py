"""Files of loggers as bytes with a size limit, and clocks without a zone; archives are in members.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.zones import to_utc, zone_of

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


def whole_lines(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A text without its last line if that one does not end, and the note about it.

    A file that was cut off inside a number still looks like one: 0.094 becomes 0.09.

    Example:
        >>> whole_lines(b"1.25\\n1.2")
        (b'1.25\\n', ('the last line does not end: left out',))
    """
    if content.endswith((b"\n", b"\r")):
        return content, ()
    return content[: content.rfind(b"\n") + 1], ("the last line does not end: left out",)


def finite(values: np.ndarray) -> np.ndarray:
    """Values with NaN in place of infinite ones, which damaged numbers give.

    Example:
        >>> finite(np.array([1.0, np.inf])).tolist()
        [1.0, nan]
    """
    return np.where(np.isfinite(values), values, np.nan)


def check_zone(timezone: str | None, *, reader: str) -> str | None:
    """The declared zone of a device, if it is one, or None as given.

    Raises:
        ConfigError: no zone.

    Example:
        >>> check_zone("Europe/Berlin", reader="axivity")
        'Europe/Berlin'
    """
    try:
        if timezone is not None:
            zone_of(timezone)
    except ValueError as error:
        raise ConfigError(
            f"reader {reader}: {error}", hint="give a name of the IANA list, or the difference to UTC: +02:00"
        ) from error
    return timezone


def start_of(local: float, timezone: str | None) -> tuple[float, dict[str, str]]:
    """Start of a recording whose device writes local time without its zone, as UTC, and the tags that state it.

    Without a zone the local time is taken as if it were UTC, as `time: iso8601` does with texts that name none: devices
    and tables in one local time then agree, and those in another one are hours apart, which builds report.

    Args:
        local: time of the first sample as POSIX seconds, as if the local time were UTC.
        timezone: where the device was set up (`check_zone`).

    Example:
        >>> start_of(1580560205.25, "Europe/Berlin")
        (1580556605.25, {'start_local': '2020-02-01 12:30:05.250', 'time_zone': 'Europe/Berlin'})
    """
    tags = {"start_local": local_time(local), "time_zone": timezone or "not stated; read as UTC"}
    return float(to_utc(np.array([local]), timezone)[0]), tags


def local_time(seconds: float) -> str:
    """Date and time in milliseconds of POSIX seconds.

    Example:
        >>> local_time(0.0)
        '1970-01-01 00:00:00.000'
    """
    try:
        return datetime.fromtimestamp(round(seconds, 3), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError) as error:
        raise RecordingError(f"{seconds:g} s since 1970 is not a date") from error
