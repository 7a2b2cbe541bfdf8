"""Repair of time stamps: what a logger wrote into times that increase and step evenly, with a report; values stay.

Samples are taken to lie in the order in which they were measured, which loggers keep even where their stamps go wrong:
radio packets stamp a batch at once, clocks are set, counters wrap around. So times are a smooth line over the count of
samples, broken only where the clock truly jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import median_filter

from imu_video.errors import RecordingError

_ROUNDS = 8  # of the robust line: each halves the pull of outliers
_SMOOTH_S = 2.0  # the clock's rate may wander this slowly
_WRAP_TOLERANCE = 0.1  # of the wrap


@dataclass(frozen=True, kw_only=True)
class ClockReport:
    """What was found in a stream's time stamps and what was done about it.

    Args:
        samples: stamps seen.
        non_finite: stamps that were no number, and were interpolated.
        backwards: steps back that were no wrap-around.
        duplicates: steps of exactly zero.
        wraps: wrap-arounds undone.
        jumps: steps longer than ``jump_s``, kept as gaps.
        resets: steps back longer than ``jump_s``, closed: the true distance is lost.
        glitches: single stamps that far off while the clock went on behind them, interpolated.
        period_s: median seconds between samples.
        jitter_s: root mean square of what was taken off the stamps within continuous stretches.
        moved_s: the largest such correction.
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
        """Whether the stamps increased strictly and without jumps as they were."""
        faults = (self.non_finite, self.backwards, self.duplicates, self.wraps, self.jumps, self.resets, self.glitches)
        return not any(faults)


def repair_times(
    times: np.ndarray, *, jump_s: float = 1.0, wrap_s: float | None = None
) -> tuple[np.ndarray, ClockReport]:
    """Strictly increasing, evenly running times for samples in the order in which they were taken.

    Within each stretch between jumps the stamps are replaced by a robust line over the sample count plus the running
    median (2 s) of what remains: slow drift of the rate and lost samples stay, jitter, repeats and single wrong stamps
    go.

    Args:
        times: (T,) seconds as stamped.
        jump_s: a longer step is a jump of the clock: forwards kept as a gap, backwards closed.
        wrap_s: the counter's range in seconds where it wraps (2**32 microseconds are 4294.967296 s).

    Returns:
        (T,) float64 seconds and the report.

    Raises:
        RecordingError: fewer than two stamps that are numbers, or stamps that do not advance at all.

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
            f"{np.count_nonzero(known)} of {raw.size} time stamps are numbers, expected at least two",
            hint="declare the right time column and unit",
        )
    index = np.arange(len(raw))
    stamps = np.interp(index, index[known], raw[known])
    steps = np.diff(stamps)
    wrapped = np.zeros(len(steps), dtype=bool)
    if wrap_s is not None:
        wrapped = np.abs(steps + wrap_s) <= _WRAP_TOLERANCE * wrap_s
        stamps[1:] += wrap_s * np.cumsum(wrapped)
        steps = np.diff(stamps)
    positive = steps[steps > 0]
    if not len(positive):
        raise RecordingError("time stamps never advance", hint="declare the right time column, or a rate instead")
    # Batches with one stamp hide the period from the median step; the total does not lie about it.
    usual = steps[np.abs(steps) <= jump_s]
    period = max(float(np.median(steps)), float(usual.mean()) if len(usual) else 0.0)
    period = period if period > 0 else float(np.median(positive))
    seen, glitches = stamps, _glitches(stamps, jump_s)
    good = ~glitches
    good[:-1] &= steps != 0  # a batch under one stamp was sent when its last sample had been taken
    stamps = np.interp(index, index[good], stamps[good])
    first, last = index[good][[0, -1]]
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
            shift = out[a - 1] + period - piece[0]
        out[a:b] = piece + shift
        if a and out[a] <= out[a - 1]:
            out[a:b] += out[a - 1] + period - out[a]
    least = max(1e-3 * period, 8 * float(np.spacing(np.abs(out).max())))
    if np.any(np.diff(out) < least):  # stamps too wild, or too fine for their size, to leave room between samples
        out = np.maximum.accumulate(out - least * index) + least * index
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
    """(T,) bool: single stamps (or two) far off both sides while the clock goes on behind them as before."""
    around = median_filter(stamps, size=5, mode="nearest")
    return np.asarray(np.abs(stamps - around) > jump_s)


def _even(stamps: np.ndarray, period: float) -> np.ndarray:
    """One continuous stretch: robust line plus the running median of the residual, increasing by construction."""
    count = len(stamps)
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
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-3 * period)
        weights = 1.0 / (1.0 + (residual / (2.0 * scale)) ** 2)
    width = min(count, max(5, round(_SMOOTH_S / period))) | 1
    smooth = line + median_filter(residual, size=width, mode="nearest")
    least = 1e-3 * period  # a running median can step back by more than the line advances: only there
    return np.asarray(np.maximum.accumulate(smooth - least * index) + least * index)
