"""Times in tables: units, ISO 8601 and time zones; no clocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo
from typing import Literal

import numpy as np

TimeUnit = Literal["s", "ms", "us", "ns", "iso8601"]
PER_SECOND: dict[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
EARLIEST_S = -86_400.0
"""POSIX seconds of the earliest date that is accepted, one day before 1970; clocks that were not set give 0001, 1601,
1899, 1900 or 1904."""
LATEST_S = 7_258_118_400.0
"""POSIX seconds of the latest date that is accepted, 2200-01-01."""
_SHORTEST = 8  # characters of a date; "2024" would be read as a year, and "now" as the present time
_UTC = (" UTC", " GMT")
_ZONED = re.compile(r"[T ].*(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)$", re.IGNORECASE)


def iso_seconds(texts: Sequence[str], zone: tzinfo | None = None) -> np.ndarray:
    """POSIX seconds of ISO 8601 times, NaN for texts that are not a time.

    Args:
        texts: times; seconds may have a decimal point or comma.
        zone: zone of times without one (UTC when None). Local times that the change of the clock repeats or skips are
            NaN. Times with an offset keep it.

    Returns:
        (rows,) seconds. All are NaN if only some of the texts have a zone; see `iso_problem`.

    Example:
        >>> iso_seconds(["1970-01-01T00:01:00.5Z", "noon"]).tolist()
        [60.5, nan]
        >>> from zoneinfo import ZoneInfo
        >>> iso_seconds(["1970-01-01 01:00:00,5"], ZoneInfo("Europe/Berlin")).tolist()
        [0.5]
    """
    import pandas as pd

    if not len(texts):
        return np.empty(0)
    words = list(texts)
    if any("," in word for word in words[:1]):
        words = [word.replace(",", ".") for word in words]
    if words[0].endswith(_UTC):
        words = [f"{word[:-4]}Z" if word.endswith(_UTC) else word for word in words]
    series = pd.Series(words, dtype="object")
    try:
        moments = pd.to_datetime(series, format="ISO8601", errors="coerce")
    except ValueError:  # offsets differ, or only some times have one
        if not all(_ZONED.search(word) for word in words if word):
            return np.full(len(words), np.nan)
        moments = pd.to_datetime(series, format="ISO8601", errors="coerce", utc=True)
    if moments.dt.tz is None:
        moments = moments.dt.tz_localize(zone or "UTC", ambiguous="NaT", nonexistent="NaT")
    out = posix_seconds(moments.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    if min(map(len, words)) < _SHORTEST:
        out[np.array([len(word) for word in words]) < _SHORTEST] = np.nan
    return out


def posix_seconds(moments: np.ndarray) -> np.ndarray:
    """Seconds of datetime64 or timedelta64 values of any resolution, NaN where they are missing.

    Example:
        >>> posix_seconds(np.array(["1970-01-01T00:00:01.5", "NaT"], dtype="datetime64[ms]")).tolist()
        [1.5, nan]
    """
    unit, count = np.datetime_data(moments.dtype)
    if unit not in PER_SECOND:
        moments = moments.astype(f"{moments.dtype.kind}8[s]")
        unit, count = "s", 1
    out = whole_seconds(moments.astype(np.int64), PER_SECOND[unit] / count)
    out[np.isnat(moments)] = np.nan
    return out


def whole_seconds(values: np.ndarray, per_second: float) -> np.ndarray:
    """Integers as float64 seconds, rounded once: nanoseconds since 1970 do not fit into a float64.

    Example:
        >>> float(whole_seconds(np.array([1_700_000_000_123_456_789]), 1e9)[0])
        1700000000.1234567
    """
    if per_second != int(per_second):
        return np.asarray(values / per_second)
    whole, part = np.divmod(values, np.asarray(int(per_second)).astype(values.dtype))
    return np.asarray(whole + part / per_second)


def iso_problem(texts: Sequence[str], row: int, zone: tzinfo | None) -> tuple[str, str]:
    """What is wrong with a row for which `iso_seconds` gives NaN, and the next step.

    Example:
        >>> iso_problem(["2024-05-06T10:00:00Z", "2024-05-06T10:00:01"], 1, None)[0]
        'without a time zone, but other rows have one'
    """
    text = texts[row]
    zoned = [bool(_ZONED.search(word)) for word in texts if word]
    if any(zoned) and not all(zoned) and np.isfinite(iso_seconds([text], zone)[0]):
        return (
            f"with{'' if _ZONED.search(text) else 'out'} a time zone, but other rows have "
            f"{'none' if _ZONED.search(text) else 'one'}",
            "write all times with an offset (2024-05-06T10:00:00+02:00), or all without",
        )
    if zone is not None and np.isfinite(iso_seconds([text])[0]):
        return (
            f"a time that the change of the clock in {zone} repeats or skips",
            "write the times of this recording with an offset (2024-10-27T02:30:00+02:00)",
        )
    if text.startswith("0000"):
        return (
            "expected a date from 1970 to 2200",
            "the clock of the device was not set; use a column of time since its start, or `time: {rate_hz: ...}`",
        )
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return "expected iso8601", "declare the unit of the time column: s, ms, us or ns"
    return "expected iso8601", "write times as 2024-05-06T10:00:00.480+02:00"
