"""Sample times from arrival times, for devices that are stamped by the receiver; not offsets between devices."""

from __future__ import annotations

import numpy as np

from imu_video.errors import RecordingError


def sample_times(arrived: np.ndarray, *, rate_hz: float, tolerance: float = 0.05) -> np.ndarray:
    """Estimate when samples were taken from when they arrived: late, never early, and in order.

    A wireless link or an operating system delays samples and then delivers several at once, so that stamps bunch and
    repeat. Sample i was taken at least ``(j - i) * period`` before each later sample j arrived, and before it arrived
    itself; the latest time that satisfies all of these bounds is

        t_i = min over j >= i of (arrived_j - (j - i) * period),   period = (1 - tolerance) / rate_hz.

    Backlogs are spread out before their delivery and steps never fall below the period. A real loss stays a gap, since
    no backlog follows it. The true rate of the device may be up to ``1 / (1 - tolerance)`` times the nominal rate.

    Args:
        arrived: (T,) seconds, never decreasing.
        rate_hz: nominal rate of the device, > 0.
        tolerance: fraction by which the device may run faster than nominal, 0.01 to 0.1; a slower device than assumed
            leaves jitter.

    Returns:
        (T,) seconds, strictly increasing, never later than ``arrived``.

    Raises:
        RecordingError: stamps that decrease or are not finite, or a rate that is not positive.

    Example:
        >>> sample_times(np.array([0.0, 0.1, 0.4, 0.4, 0.4, 0.5]), rate_hz=10, tolerance=0.0).round(3).tolist()
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    """
    stamps = np.asarray(arrived, dtype=np.float64)
    if stamps.ndim != 1 or not rate_hz > 0 or not 0 <= tolerance < 1:
        raise RecordingError(f"stamps {stamps.shape} at {rate_hz} Hz with tolerance {tolerance} cannot be repaired")
    wrong = np.flatnonzero(~(np.diff(stamps) >= 0))
    if len(wrong) or not np.all(np.isfinite(stamps)):
        where = int(wrong[0]) + 1 if len(wrong) else 0
        raise RecordingError(f"time stamps run backwards or are missing at sample {where}")
    since = np.arange(len(stamps)) * ((1 - tolerance) / rate_hz)
    return np.asarray(np.minimum.accumulate((stamps - since)[::-1])[::-1] + since)
