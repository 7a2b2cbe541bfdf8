"""Local times to UTC by a declared time zone; how times are written in files is read elsewhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

_OFFSET = re.compile(r"([+-])(\d{1,2}):?(\d{2})?")


def zone_of(name: str) -> tzinfo:
    """The zone of a name (``Europe/Berlin``) or of a fixed difference to UTC (``+02:00``).

    Raises:
        ValueError: neither of the two.
    """
    match = _OFFSET.fullmatch(name.strip())
    if match:
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        if minutes > 14 * 60:
            raise ValueError(f"timezone {name!r}: expected at most 14 hours")
        return timezone(timedelta(minutes=minutes if match[1] == "+" else -minutes))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown timezone {name!r}, expected a name like Europe/Berlin or +02:00") from error


def to_utc(local: np.ndarray, name: str | None) -> np.ndarray:
    """POSIX seconds of local times that were read as if they were UTC.

    Args:
        local: (N,) seconds since 1970 in local time.
        name: the zone; None leaves the times as they are. In the hour that the end of summer time repeats, times count
            as summer time.

    Example:
        >>> (to_utc(np.array([1727600000.0, 1733000000.0]), "Europe/Berlin") - [1727600000, 1733000000]).tolist()
        [-7200.0, -3600.0]
    """
    if name is None:
        return local
    zone = zone_of(name)
    # Zones change at multiples of a quarter of an hour; a recording has few of those.
    quarters, inverse = np.unique(np.floor(local / 900).astype(np.int64), return_inverse=True)
    shifts = []
    for quarter in quarters:
        wall = datetime.fromtimestamp(int(quarter) * 900, UTC).replace(tzinfo=zone)
        shifts.append((wall.utcoffset() or timedelta(0)).total_seconds())
    return np.asarray(local - np.array(shifts)[inverse])
