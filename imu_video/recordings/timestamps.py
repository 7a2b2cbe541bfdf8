"""Repair of time stamps into strictly increasing, evenly spaced times, with a report; values are not changed.

Samples are assumed to be in the order in which they were measured. Loggers keep this order even where their stamps are
wrong: radio packets carry one stamp for a batch, clocks are set, counters wrap around. The repaired times are therefore
a smooth function of the sample count, interrupted only where samples were lost or the clock really jumps. Which samples
share a stamp, and how many were lost, is found by batches.py; this module handles the faults of the clock itself and
fits the times.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.interpolate import make_lsq_spline
from scipy.ndimage import median_filter

from imu_video.errors import RecordingError
from imu_video.recordings.batches import Batches, find_batches, skewed, slots

MAX_MOVE_S = 1.0
"""A stamp may be moved by at most this many seconds beyond the length of its batch."""

_WRAP_TOLERANCE = 0.1  # fraction of the counter's range within which a backward step counts as a wrap-around
_JUMP_BATCHES = 8.0  # a gap of this many packets is a jump of the clock, not a loss of packets
_POINTS = 2000  # block medians to which the smooth drift is fitted: enough for any clock, and independent of the length
_KNOTS = (0, 1, 2, 4, 8, 16)  # inner knots of the drift; more are used only where they explain the stamps better
_FEWEST_SKEWED = 40  # stamps; the skewness of fewer is chance
_EARLIEST = 0.02  # quantile of one-sided delays that counts as no delay


@dataclass(frozen=True, kw_only=True)
class ClockReport:
    """Faults in a stream's time stamps and their repair.

    Args:
        samples: number of stamps.
        non_finite: stamps that were not finite and were interpolated.
        backwards: backward steps that were not a wrap-around.
        duplicates: steps of exactly zero.
        wraps: wrap-arounds undone.
        jumps: forward steps of the clock that are too long for a loss of packets, kept as gaps.
        resets: backward steps longer than ``jump_s``; the true distance is unknown, so the gap is closed.
        glitches: stamps more than ``jump_s`` from their neighbours on both sides, interpolated.
        period_s: seconds between samples.
        jitter_s: root mean square in seconds of the distance between the stamps of batches and the repaired clock.
        moved_s: the largest distance in seconds between a stamp and its repaired time, glitches left out.
        model: ``samples`` (one stamp each), ``packets`` (stamped on arrival) or ``ticks`` (a clock of coarse
            resolution); see batches.py.
        batch_samples: median number of samples that share a stamp.
        tick_s: resolution of the clock for ``ticks``, else 0.
        lost: samples that the device took and the file lacks, as far as the stamps show this.
        delays: ``two-sided``, or ``one-sided`` where stamps are late but never early: the earliest ones are then used.
        excess_s: the largest move beyond the length of the sample's batch.
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
    model: str = "samples"
    batch_samples: int = 1
    tick_s: float = 0.0
    lost: int = 0
    delays: str = "two-sided"
    excess_s: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether the stamps increased strictly and without jumps before the repair."""
        faults = (self.non_finite, self.backwards, self.duplicates, self.wraps, self.jumps, self.resets, self.glitches)
        return not any(faults)

    def plain(self) -> dict[str, Any]:
        """The report as plain numbers and words, seconds to the microsecond."""
        return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in asdict(self).items()}


def repair_times(
    times: np.ndarray, *, jump_s: float = 1.0, wrap_s: float | None = None, max_move_s: float = MAX_MOVE_S
) -> tuple[np.ndarray, ClockReport]:
    """Strictly increasing, evenly spaced times for samples in the order in which they were taken.

    Each segment between jumps becomes a line over the sample count, lost samples included, with a slow drift where the
    stamps show one. Of samples that share a stamp, or have stamps a few milliseconds apart, the last one was taken when
    the stamp was set (a packet that arrived); where all stamps are whole seconds (or another coarse resolution) the
    samples of second k are placed in k .. k + 1.

    Args:
        times: (T,) seconds as stamped.
        jump_s: a longer step that is not a loss of packets is a jump of the clock: a forward jump is kept as a gap,
            a backward jump is closed, which moves all later samples.
        wrap_s: range in seconds of a counter that wraps around (2**32 microseconds are 4294.967296 s).
        max_move_s: no stamp is moved by more seconds than this beyond the length of its batch.

    Returns:
        (T,) float64 seconds and the report.

    Raises:
        RecordingError: fewer than two finite stamps, stamps that never increase, or one that would be moved too far.

    Example:
        >>> stamps = np.array([0.0, 0.02, 0.02, 0.06, 0.05, 0.10, 0.12])  # one repeated, one late
        >>> repaired, report = repair_times(stamps)
        >>> repaired.round(2).tolist(), report.duplicates, report.backwards
        ([0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12], 1, 1)
        >>> repair_times(np.repeat([1.0, 2.0, 3.0], 4))[0].round(6).tolist()[:5]  # whole seconds
        [1.0, 1.25, 1.5, 1.75, 2.0]
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
    batches = find_batches(stamps)
    if batches is None:
        raise RecordingError("time stamps never advance", hint="declare the correct time column, or a rate instead")
    fit = _fit(stamps, batches, jump_s)
    out = fit.times
    least = max(1e-3 * fit.period, 8 * float(np.spacing(np.abs(out).max())))
    # Two samples need distinct times even where the stamps jump wildly, or where float64 cannot resolve the step (for
    # example nanoseconds since 1970 in seconds): the times are pushed apart by the smallest resolvable step.
    if np.any(np.diff(out) < least):
        out = np.maximum.accumulate(out - least * index) + least * index
    # Missing stamps and glitches are replaced, not moved.
    counted = known & ~fit.glitches
    moved = np.abs(out - stamps)[counted]
    excess = np.maximum(moved - fit.length[counted], 0.0)
    worst = int(np.argmax(excess)) if len(excess) else 0
    if len(excess) and excess[worst] > max_move_s:
        row = int(np.flatnonzero(counted)[worst])
        back = f"; the clock goes back {fit.resets} time{'s' * (fit.resets != 1)}" if fit.resets else ""
        raise RecordingError(
            f"repair of the clock would move the time of sample {row} by {moved[worst]:.3g} s, which is "
            f"{excess[worst]:.3g} s more than the length of its batch; expected at most "
            f"{max_move_s:g} s{back}",
            hint="sort the rows if they are not in the order of measurement, split the file where its clock was set, "
            f"or allow it: time: {{..., repair: true, repair_within_s: {math.ceil(1.01 * excess[worst])}}}",
        )
    anchors = fit.rest[np.isfinite(fit.rest)]
    return out, ClockReport(
        samples=len(raw),
        non_finite=int(np.count_nonzero(~known)),
        backwards=int(np.count_nonzero((steps < 0) & ~wrapped)),
        duplicates=int(np.count_nonzero(steps == 0)),
        wraps=int(np.count_nonzero(wrapped)),
        jumps=fit.jumps,
        resets=fit.resets,
        glitches=int(np.count_nonzero(fit.glitches & known)),
        period_s=fit.period,
        jitter_s=float(np.sqrt(np.mean(anchors**2))) if len(anchors) else 0.0,
        moved_s=float(moved.max(initial=0.0)),
        model=batches.kind,
        batch_samples=int(np.median(batches.last - batches.first + 1)),
        tick_s=batches.tick_s,
        lost=fit.lost,
        delays="one-sided" if fit.one_sided else "two-sided",
        excess_s=float(excess.max(initial=0.0)),
    )


@dataclass(kw_only=True, eq=False)
class _Fit:
    """Repaired ``times`` of all samples, ``length`` of their batches in seconds, ``rest`` of the anchors."""

    times: np.ndarray
    length: np.ndarray
    glitches: np.ndarray
    rest: np.ndarray
    period: float
    jumps: int
    resets: int
    lost: int
    one_sided: bool


def _fit(stamps: np.ndarray, batches: Batches, jump_s: float) -> _Fit:
    """Segments between jumps, the slots of their samples, and one clock for all of them."""
    index, seen = batches.anchors(stamps)
    distance = float(np.median(np.diff(index))) * batches.period if len(index) > 1 else batches.period
    far = max(jump_s, _JUMP_BATCHES * distance)
    wrong = _glitches(seen, max(jump_s, 3 * distance))
    # Equal stamps of a stream that has no batches are the fault of single stamps: the later one repeats the earlier.
    sizes = batches.last - batches.first + 1
    begin = batches.first[len(batches.first) - len(seen) :]
    glitches = np.repeat(np.concatenate([np.zeros(len(sizes) - len(seen), dtype=bool), wrong]), sizes)
    if batches.kind == "samples":
        wrong[1:] |= np.diff(seen) == 0
    good = np.flatnonzero(~wrong)
    if len(good) < 2:
        good = np.arange(len(seen))
    index, seen, first = index[good], seen[good], begin[good]
    late = np.diff(seen) - batches.period * np.diff(index)
    forward, back = late > far, np.diff(seen) < -jump_s
    cuts = np.flatnonzero(forward | back) + 1
    edges = [0, *cuts.tolist(), len(index)]
    pieces = []
    period = batches.period
    for a, b in pairwise(edges):
        lost, own = slots(index[a:b], seen[a:b], batches)
        pieces.append((a, b, lost, own))
    # The longest segment measures the rate best; a segment of a handful of packets uses that of the others.
    longest = max(pieces, key=lambda piece: piece[1] - piece[0])
    period = longest[3]
    total = len(stamps)
    starts = [0, *first[cuts].tolist(), total]
    times, rest = np.empty(total), np.full(len(seen), np.nan)
    moved, lost_all, one_sided = 0.0, 0, False
    for number, ((a, b, lost, own), (i, j)) in enumerate(zip(pieces, pairwise(starts), strict=True)):
        count = index[a:b] + lost
        curve = _clock(count, seen[a:b], own if b - a >= 8 else period, batches)
        # Samples between two anchors belong to the packet of the later one, or to the tick of the earlier one.
        sample = np.arange(i, j)
        if batches.kind == "ticks":
            place = np.clip(np.searchsorted(index[a:b], sample, side="right") - 1, 0, b - a - 1)
        else:
            place = np.clip(np.searchsorted(index[a:b], sample, side="left"), 0, b - a - 1)
        piece = curve.at(sample + lost[place])
        if batches.kind == "ticks":
            piece = _inside(piece, stamps[i:j], batches.tick_s)
        rest[a:b] = seen[a:b] - curve.at(count)
        if number and back[a - 1]:
            # The true pause before a reset is unknown; one period keeps times increasing without a made-up gap.
            moved = times[i - 1] + period - piece[0]
        elif number and moved + piece[0] <= times[i - 1]:
            # Fitting can move the ends of two neighbouring segments past each other.
            moved = times[i - 1] + period - piece[0]
        times[i:j] = piece + moved
        lost_all += int(lost[-1])
        one_sided |= curve.one_sided
    spans = np.maximum(sizes - 1, 0) * period if batches.kind == "packets" else np.full(len(sizes), batches.tick_s)
    return _Fit(
        times=times,
        length=np.repeat(spans, sizes),
        glitches=glitches,
        rest=rest,
        period=period,
        jumps=int(np.count_nonzero(forward)),
        resets=int(np.count_nonzero(back)),
        lost=lost_all,
        one_sided=one_sided,
    )


def _inside(times: np.ndarray, stamps: np.ndarray, tick: float) -> np.ndarray:
    """Times of samples within their ticks: those of a tick are shifted together, by as little as needed.

    Where samples were lost within a tick the stamps do not show when; the shift bounds the error by that tick.
    """
    first = np.concatenate([[0], np.flatnonzero(np.diff(stamps)) + 1])
    last = np.concatenate([first[1:] - 1, [len(stamps) - 1]])
    early, late = stamps[first] - times[first], times[last] - stamps[last] - tick * (1 - 1e-6)
    shift = np.where(early > 0, early, -np.maximum(late, 0.0))
    return np.asarray(times + np.repeat(shift, last - first + 1))


def _glitches(stamps: np.ndarray, jump_s: float) -> np.ndarray:
    """(M,) bool: one or two stamps far from both neighbours, after which the clock continues as before.

    A median over five stamps ignores up to two outliers but follows a real jump, which changes all later stamps.
    """
    around = median_filter(stamps, size=5, mode="nearest")
    return np.asarray(np.abs(stamps - around) > jump_s)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Clock:
    """Seconds as a function of the slot: a line, and a spline of the drift or None."""

    origin: float
    level: float
    slope: float
    drift: Any
    one_sided: bool

    def at(self, slot: np.ndarray) -> np.ndarray:
        x = slot - self.origin
        out = self.level + self.slope * x
        if self.drift is not None:
            low, high = self.drift.t[0], self.drift.t[-1]
            inside = np.clip(x, low, high)
            # Beyond the outermost anchors the drift goes on as a line.
            slopes = self.drift(np.array([low, high]), 1)
            out = out + self.drift(inside) + np.where(x < low, slopes[0], slopes[1]) * (x - inside)
        return np.asarray(out)


def _clock(count: np.ndarray, stamps: np.ndarray, period: float, batches: Batches) -> _Clock:
    """Fit of the clock: robust line, drift by block medians, and the level for the kind of delays."""
    origin = float(count.mean())
    x = count - origin
    slope, level, weights = period, 0.0, np.ones(len(x))
    if len(x) < 3:
        # Two stamps are too few to distinguish jitter from the rate.
        slope = (stamps[-1] - stamps[0]) / max(x[-1] - x[0], 1) if batches.kind == "samples" and len(x) > 1 else period
        slope = slope if slope > 0 else period
        level = float(np.mean(stamps - slope * x))
        # Of a single boundary between two ticks the first sample after it has the time of the tick.
        level -= 0.5 * slope if batches.kind == "ticks" else 0.0
        return _Clock(origin=origin, level=level, slope=float(slope), drift=None, one_sided=False)
    for _ in range(8):
        centre, height = np.average(x, weights=weights), np.average(stamps, weights=weights)
        spread = np.sum(weights * (x - centre) ** 2)
        if spread > 0:
            slope = float(np.sum(weights * (x - centre) * (stamps - height)) / spread)
        slope = slope if slope > 0 else period
        level = float(height - slope * centre)
        rest = stamps - level - slope * x
        # 1.4826 times the median deviation estimates the standard deviation of normal residuals, ignoring outliers.
        scale = max(1.4826 * float(np.median(np.abs(rest))), 1e-3 * period)
        weights = 1.0 / (1.0 + (rest / (2.0 * scale)) ** 2)
    drift = _drift(x, rest)
    if drift is not None:
        rest = rest - drift(x)
    offset, one_sided = _level(rest, batches, slope)
    return _Clock(origin=origin, level=level + offset, slope=slope, drift=drift, one_sided=one_sided)


def _drift(x: np.ndarray, rest: np.ndarray) -> Any:
    """A cubic spline of the residuals of the line, or None if it does not improve the fit; knots by BIC."""
    size = max(1, len(x) // _POINTS, min(25, len(x) // 24))
    blocks = len(x) // size
    if blocks < 12:
        return None
    cut = blocks * size
    at = x[:cut].reshape(blocks, size).mean(axis=1)
    value = np.median(rest[:cut].reshape(blocks, size), axis=1)
    best, curve = blocks * np.log(max(float(np.mean((value - np.median(value)) ** 2)), 1e-18)), None
    for knots in _KNOTS:
        if blocks < 4 * (knots + 4):
            break
        inner = np.quantile(at, np.linspace(0, 1, knots + 2)[1:-1]) if knots else np.empty(0)
        spline = make_lsq_spline(at, value, np.concatenate([[at[0]] * 4, inner, [at[-1]] * 4]), k=3)
        errors = value - spline(at)
        # Twice the penalty of BIC: neighbouring blocks are not independent where the stamps are delayed for a while.
        score = blocks * np.log(max(float(np.mean(errors**2)), 1e-18)) + 2 * (knots + 4) * np.log(blocks)
        if score < best:
            best, curve = score, spline
    return curve


def _level(rest: np.ndarray, batches: Batches, period: float) -> tuple[float, bool]:
    """What is added to the level of the fit, and whether the delays are one-sided.

    Two-sided jitter is centred. Delays are never negative: where the residuals have a steep lower edge and a long upper
    tail, the edge is the clock. A tick's first sample lies at the tick or up to one period after it, and the
    anchors between two samples half a period before: the earliest clock that puts all samples into their ticks.
    """
    if batches.kind == "ticks":
        high, low = float(np.quantile(rest, 0.98)), float(np.quantile(rest, 0.02))
        # The anchors are half a period before the first sample of the tick: + period / 2 places that sample on it.
        earliest, latest = high - period / 2, low + period / 2
        return (earliest if earliest <= latest else (earliest + latest) / 2), False
    if len(rest) >= _FEWEST_SKEWED and skewed(rest) and float(np.ptp(rest)) > 1e-3:
        return float(np.quantile(rest, _EARLIEST)), True
    scale = max(1.4826 * float(np.median(np.abs(rest - np.median(rest)))), 1e-3 * period)
    centre = float(np.median(rest))
    for _ in range(4):
        # Tukey's weights: the mean of normal jitter, which is more exact than its median, without the outliers.
        weights = np.maximum(1 - ((rest - centre) / (4.7 * scale)) ** 2, 0) ** 2
        if not weights.any():
            break
        centre = float(np.average(rest, weights=weights))
    return centre, False
