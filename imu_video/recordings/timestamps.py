"""Repair of time stamps into strictly increasing, evenly spaced times, with a report; values are not changed.

Samples are assumed to be in the order in which they were measured. Loggers keep this order even where their stamps are
wrong: radio packets carry one stamp for a batch, clocks are set, counters wrap around. The repaired times are therefore
a smooth function of the sample count, interrupted only where the clock really jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import median_filter

from imu_video.errors import RecordingError

_ROUNDS = 8  # iterations of the robust line; each one reduces the weight of outliers further
_SMOOTH_S = 2.0  # the rate of a clock may vary on this time scale; faster variation is jitter of the stamps
_WRAP_TOLERANCE = 0.1  # fraction of the counter's range within which a backward step counts as a wrap-around


@dataclass(frozen=True, kw_only=True)
class ClockReport:
    """Faults in a stream's time stamps and their repair.

    Args:
        samples: number of stamps.
        non_finite: stamps that were not finite and were interpolated.
        backwards: backward steps that were not a wrap-around.
        duplicates: steps of exactly zero.
        wraps: wrap-arounds undone.
        jumps: steps longer than ``jump_s``, kept as gaps.
        resets: backward steps longer than ``jump_s``; the true distance is unknown, so the gap is closed.
        glitches: single stamps more than ``jump_s`` from their neighbours, interpolated.
        period_s: median seconds between samples.
        jitter_s: root mean square in seconds of the corrections within continuous segments.
        moved_s: the largest of these corrections in seconds.
    """

    samples: int
    non_finite: int
    backwards: int
    duplicates: int
    wraps: int
    jumps: int
    resets: int
    glitches: int
    period_s: float
    jitter_s: float
    moved_s: float

    @property
    def clean(self) -> bool:
        """Whether the stamps increased strictly and without jumps before the repair."""
        faults = (self.non_finite, self.backwards, self.duplicates, self.wraps, self.jumps, self.resets, self.glitches)
        return not any(faults)


def repair_times(
    times: np.ndarray, *, jump_s: float = 1.0, wrap_s: float | None = None
) -> tuple[np.ndarray, ClockReport]:
    """Strictly increasing, evenly spaced times for samples in the order in which they were taken.

    Within each segment between jumps the stamps are replaced by a robust line over the sample count plus the running
    median (2 s) of the residual. Slow drift of the rate and lost samples are kept; jitter, repeated and single wrong
    stamps are removed.

    Args:
        times: (T,) seconds as stamped.
        jump_s: a longer step is a jump of the clock: a forward jump is kept as a gap, a backward jump is closed.
        wrap_s: range in seconds of a counter that wraps around (2**32 microseconds are 4294.967296 s).

    Returns:
        (T,) float64 seconds and the report.

    Raises:
        RecordingError: fewer than two finite stamps, or stamps that never increase.

    Example:
        >>> stamps = np.array([0.0, 0.02, 0.02, 0.06, 0.05, 0.10, 0.12])  # one repeated, one late
        >>> repaired, report = repair_times(stamps)
        >>> repaired.round(2).tolist(), report.duplicates, report.backwards
        ([0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12], 1, 1)
    """
    raw = np.asarray(times, dtype=np.float64)
    known = np.isfinite(raw)
    if raw.ndim != 1 or np.count_nonzero(known) < 2:
        raise RecordingError(
            f"{np.count_nonzero(known)} of {raw.size} time stamps are finite, expected at least two",
            hint="declare the correct time column and unit",
        )
    index = np.arange(len(raw))
    # Non-finite stamps are replaced first, because every later step uses differences.
    stamps = np.interp(index, index[known], raw[known])
    steps = np.diff(stamps)
    wrapped = np.zeros(len(steps), dtype=bool)
    if wrap_s is not None:
        wrapped = np.abs(steps + wrap_s) <= _WRAP_TOLERANCE * wrap_s
        stamps[1:] += wrap_s * np.cumsum(wrapped)
        steps = np.diff(stamps)
    positive = steps[steps > 0]
    if not len(positive):
        raise RecordingError("time stamps never advance", hint="declare the correct time column, or a rate instead")
    # Where a device sends batches under one stamp, most steps are 0 and so is their median; the mean step is not.
    usual = steps[np.abs(steps) <= jump_s]
    period = max(float(np.median(steps)), float(usual.mean()) if len(usual) else 0.0)
    period = period if period > 0 else float(np.median(positive))
    seen, glitches = stamps, _glitches(stamps, jump_s)
    good = ~glitches
    # Of samples that share a stamp only the last one keeps it: the batch was sent right after that sample was taken.
    # The times of the earlier ones are interpolated.
    good[:-1] &= steps != 0
    stamps = np.interp(index, index[good], stamps[good])
    first, last = index[good][[0, -1]]
    # Extrapolated at both ends, where np.interp would repeat the first and the last good stamp.
    stamps[:first] = stamps[first] - period * (first - index[:first])
    stamps[last + 1 :] = stamps[last] + period * (index[last + 1 :] - last)
    smooth = np.diff(stamps)
    forward, back = smooth > jump_s, smooth < -jump_s
    out = np.empty_like(stamps)
    bounds = [0, *(np.flatnonzero(forward | back) + 1), len(stamps)]
    shift, moved = 0.0, np.empty_like(stamps)
    for a, b in pairwise(bounds):
        piece = _even(stamps[a:b], period)
        moved[a:b] = piece - seen[a:b]
        if a and back[a - 1]:
            # The true pause before a reset is unknown; one period keeps times increasing without a made-up gap.
            shift = out[a - 1] + period - piece[0]
        out[a:b] = piece + shift
        # Smoothing can move the ends of two neighbouring segments past each other.
        if a and out[a] <= out[a - 1]:
            out[a:b] += out[a - 1] + period - out[a]
    least = max(1e-3 * period, 8 * float(np.spacing(np.abs(out).max())))
    # Two samples need distinct times even where the stamps jump wildly, or where float64 cannot resolve the step (for
    # example nanoseconds since 1970 in seconds): the times are pushed apart by the smallest resolvable step.
    if np.any(np.diff(out) < least):
        out = np.maximum.accumulate(out - least * index) + least * index
    # Missing stamps and glitches are not jitter, and their corrections would dominate it.
    moved = moved[known & ~glitches]
    return out, ClockReport(
        samples=len(raw),
        non_finite=int(np.count_nonzero(~known)),
        backwards=int(np.count_nonzero((steps < 0) & ~wrapped)),
        duplicates=int(np.count_nonzero(steps == 0)),
        wraps=int(np.count_nonzero(wrapped)),
        jumps=int(np.count_nonzero(forward)),
        resets=int(np.count_nonzero(back)),
        glitches=int(np.count_nonzero(glitches & known)),
        period_s=period,
        jitter_s=float(np.sqrt(np.mean(moved**2))),
        moved_s=float(np.abs(moved).max()),
    )


def _glitches(stamps: np.ndarray, jump_s: float) -> np.ndarray:
    """(T,) bool: one or two stamps far from both neighbours, after which the clock continues as before.

    A median over five stamps ignores up to two outliers but follows a real jump, which changes all later stamps.
    """
    around = median_filter(stamps, size=5, mode="nearest")
    return np.asarray(np.abs(stamps - around) > jump_s)


def _even(stamps: np.ndarray, period: float) -> np.ndarray:
    """One continuous segment: robust line plus the running median of the residual, increasing by construction."""
    count = len(stamps)
    # Two samples determine their line exactly, so there is no residual to smooth.
    if count < 3:
        return np.asarray(stamps[0] + np.arange(count) * max(period, (stamps[-1] - stamps[0]) / max(count - 1, 1)))
    index = np.arange(count, dtype=np.float64)
    weights = np.ones(count)
    residual = stamps
    line = stamps
    for _ in range(_ROUNDS):
        slope, offset = np.polyfit(index, stamps, 1, w=np.sqrt(weights))
        line = offset + slope * index
        residual = stamps - line
        # 1.4826 times the median deviation estimates the standard deviation of normal residuals and ignores outliers.
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-3 * period)
        weights = 1.0 / (1.0 + (residual / (2.0 * scale)) ** 2)
    # Odd, so that the window of the median is centred on its sample.
    width = min(count, max(5, round(_SMOOTH_S / period))) | 1
    smooth = line + median_filter(residual, size=width, mode="nearest")
    # The running median may decrease by more than the line increases; the minimum step applies only at those samples.
    least = 1e-3 * period
    return np.asarray(np.maximum.accumulate(smooth - least * index) + least * index)
