"""Times in tables: units and ISO 8601; no clocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

TimeUnit = Literal["s", "ms", "us", "ns", "iso8601"]
PER_SECOND: dict[str, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def iso_seconds(texts: Sequence[str]) -> np.ndarray:
    """POSIX seconds of ISO 8601 times, NaN for texts that are not a time.

    Example:
        >>> iso_seconds(["1970-01-01T00:01:00.5Z", "noon"]).tolist()
        [60.5, nan]
    """
    import pandas as pd

    moments = pd.to_datetime(pd.Series(list(texts), dtype="object"), utc=True, format="ISO8601", errors="coerce")
    return ((moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
