"""Samples that share a time stamp: the batches of a stream and the sample number of each; no fitting.

A stream is described by one model. Every sample has a *slot*: its number in the device's own count, which also counts
samples that were lost on the way. The time of a sample is a smooth function of its slot. What is stamped is not the
sample but a *batch* of one or more samples:

- ``samples``: each sample carries its own stamp (batches of one);
- ``packets``: the samples of a packet are stamped when it arrives, all alike or a few milliseconds apart. The last one
  was taken right before, so the stamp belongs to the last sample;
- ``ticks``: the clock has a coarse resolution (whole seconds). A sample of tick k was taken in k .. k + 1 ticks, so a
  tick begins between its first sample and the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import median_filter, minimum_filter1d, uniform_filter1d

TICKS_S = (60.0, 1.0, 0.5, 0.1, 1 / 64, 0.01)
"""Resolutions of clocks in seconds that are distinguished from packets if each contains several samples."""

_LONGEST_BATCH_S = 60.5  # a longer step between two stamps is a pause, not a packet and not a tick of a clock
_FASTEST_HZ = 250.0  # regular stamps up to this rate are the sampling itself, faster ones may be the reading of packets
_SHORTEST_S = 1e-6  # no wearable is faster; a shorter mean step is rounding of the stamps
_SAME = 0.5  # of the mean step: samples closer than this belong to one batch
_BATCHED = 0.3  # fraction of such steps from which on a stream is batched; jitter of a third of a period stays below
_REPEATED = 0.15  # fraction of equal stamps from which on it is
# How the phase of the stamps is averaged: standard deviation in anchors, the mean resultant length from which on slots
# are certain, and the anchors whose median decides. The more the stamps scatter, the more of them are needed: the three
# rows serve deviations up to 0.16, 0.25 and 0.33 units.
_PHASES = ((12.0, 0.6, 1), (60.0, 0.28, 7), (300.0, 0.12, 15))
_SKEWED = 0.25
_ENOUGH = 20_000  # stamps from which the kind of delays is estimated; more do not improve it
_FEWEST_SKEWED = 40  # stamps; the skewness of fewer is chance


@dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """The batches of a stream.

    Args:
        kind: see the module.
        first, last: (M,) index of the first and last sample of every batch.
        period: seconds between samples, a first estimate.
        unit: samples that are lost together: the size of a packet where all packets have one size, else 1.
        tick_s: resolution of the clock for ``ticks``, else 0.
    """

    kind: Literal["samples", "packets", "ticks"]
    first: np.ndarray
    last: np.ndarray
    period: float
    unit: int = 1
    tick_s: float = 0.0

    def anchors(self, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) sample index, not necessarily whole, and (M,) stamp that belongs to it, per batch.

        Of stamps a few milliseconds apart within a packet the earliest counts: all its samples had been taken by then.
        """
        if self.kind == "ticks":
            # The first tick began before the recording, at a time that is not known.
            first = self.first[1:]
            return first - 0.5, stamps[first]
        return self.last.astype(np.float64), stamps[self.first]


def find_batches(stamps: np.ndarray) -> Batches | None:
    """The batches of finite stamps in the order of measurement; None when the stamps never advance.

    Example:
        >>> batches = find_batches(np.repeat([0.37, 1.65, 2.93], 64))
        >>> batches.kind, batches.unit, batches.period
        ('packets', 64, 0.02)
    """
    steps = np.diff(stamps)
    usual = steps[(steps >= 0) & (steps <= _LONGEST_BATCH_S)]
    if not np.any(steps > 0):
        return None
    if not np.any(usual > 0):
        return _single(stamps, float(np.median(steps[steps > 0])))
    middle = float(np.median(usual))
    regular = middle > 0 and float(np.mean(np.abs(usual - middle) <= 0.5 * middle)) >= 0.7
    if regular and middle >= 1 / _FASTEST_HZ:
        return _single(stamps, middle)
    # The step that makes up half of the time: the period, or the distance between two packets. Pauses are longer, but
    # few of them are equal.
    ordered = np.sort(usual[usual > 0])
    alike = np.searchsorted(ordered, 2 * ordered, side="right") - np.searchsorted(ordered, ordered / 2)
    ordered = ordered[alike >= 3] if np.any(alike >= 3) else ordered
    passed = np.cumsum(ordered)
    long = float(ordered[np.searchsorted(passed, passed[-1] / 2)])
    if regular and long <= 3 * middle:
        return _single(stamps, middle)
    # Backward steps count: they are as many as jitter makes forward ones too long.
    period = max(float(steps[np.abs(steps) <= 8 * long].mean()), _SHORTEST_S)
    repeated = np.count_nonzero(steps == 0) >= max(_REPEATED * len(steps), 2)
    if not repeated and np.count_nonzero(np.abs(steps) < _SAME * period) < max(_BATCHED * len(steps), 3):
        return _single(stamps, period)
    new = np.flatnonzero(np.abs(steps) >= _SAME * period) + 1
    first, last = np.concatenate([[0], new]), np.concatenate([new - 1, [len(stamps) - 1]])
    sizes = (last - first + 1)[1:-1] if len(first) > 4 else last - first + 1
    tick = _tick(stamps, first, period)
    if tick:
        # A complete tick holds one of two neighbouring numbers of samples; fewer are a loss.
        complete = sizes[np.abs(sizes - np.median(sizes)) <= 1]
        complete = complete if len(first) > 4 and len(complete) else sizes.max(keepdims=True)
        return Batches(kind="ticks", first=first, last=last, period=tick / float(complete.mean()), tick_s=tick)
    size = int(np.bincount(sizes).argmax())
    # Two packets that arrive together form one batch of twice the size.
    even = size > 1 and float(np.mean(sizes % size == 0)) >= 0.8
    gaps, inside = np.diff(stamps[first]), np.diff(last)
    ahead = (gaps > 0) & (gaps <= 3 * long)
    if ahead.any():
        # The median ignores delays; lost packets shift it, so that gaps are then counted in whole packets. Batches of
        # all sizes allow neither.
        ratio = np.median(gaps[ahead] / inside[ahead]) if even else gaps[ahead].sum() / inside[ahead].sum()
        period = max(float(ratio), _SHORTEST_S)
    unit = size if even else 1
    for _ in range(8):
        slots_between = inside + unit * np.round((gaps - period * inside) / (unit * period))
        counted = ahead & (slots_between >= 0)
        if even and slots_between[counted].sum() > 0:
            period = max(float(gaps[counted].sum() / slots_between[counted].sum()), _SHORTEST_S)
    return Batches(kind="packets", first=first, last=last, period=period, unit=unit)


def _single(stamps: np.ndarray, period: float) -> Batches:
    index = np.arange(len(stamps))
    return Batches(kind="samples", first=index, last=index, period=max(period, _SHORTEST_S))


def _tick(stamps: np.ndarray, first: np.ndarray, period: float) -> float:
    """The coarsest resolution of which all stamps are multiples and by which most of them step, or 0."""
    seen = stamps[first]
    for tick in TICKS_S:
        rest = np.abs(seen / tick - np.round(seen / tick)) * tick
        exact = np.all(rest <= 1e-6 * tick + 4 * np.spacing(np.abs(seen)))
        # Packets of several ticks may be stamped with the same resolution.
        if tick >= 1.5 * period and exact and np.median(np.diff(seen)) <= 1.5 * tick:
            return tick
    return 0.0


def slots(index: np.ndarray, stamps: np.ndarray, batches: Batches) -> tuple[np.ndarray, float]:
    """Number of lost samples before each anchor, and the period refined by them.

    The stamps modulo the length of a packet have one phase, whatever was lost; it changes slowly if the clock drifts.
    A stamp that is later than its phase by whole packets follows lost ones, unless a later stamp has caught up: a
    packet that arrives late is not lost.

    Args:
        index, stamps: (M,) anchors without jumps of the clock.
        batches: their batches.

    Returns:
        (M,) lost samples before each anchor, never decreasing, and seconds per slot.
    """
    period = batches.period
    if len(index) < 4:
        return _by_rounding(index, stamps, batches), period
    # The anchors of ticks scatter by a whole sample, so they have no phase.
    for spread, needed, width in _PHASES if batches.kind != "ticks" else ():
        found = _by_phase(index, stamps, batches, spread, needed, width)
        if found is not None:
            return found
    return _by_steps(index, stamps, batches, period), period


def _by_phase(
    index: np.ndarray, stamps: np.ndarray, batches: Batches, spread: float, needed: float, width: int
) -> tuple[np.ndarray, float] | None:
    """`slots` by the phase averaged over ``spread`` anchors; None if the phases scatter too much."""
    period, lost = batches.period, np.zeros(len(index))
    number = np.arange(len(index))
    for _ in range(4):
        unit = batches.unit * period
        rest = (stamps - stamps[0] - period * (index - index[0] + lost)) / unit
        delayed = len(rest) >= _FEWEST_SKEWED and _one_sided(rest, int(spread))
        if delayed:
            # What arrives late has not been lost: the earliest of the following stamps counts.
            ahead, seen = min(int(5 * spread), len(rest)), rest
            rest = minimum_filter1d(rest, ahead, mode="nearest", origin=-(ahead // 2))
        turn = np.exp(2j * np.pi * rest)
        speed = _turning(turn, int(5 * spread))
        mean = _blurred(turn * np.exp(-2j * np.pi * speed * number), spread)
        if float(np.median(np.abs(mean))) < needed:
            return None
        phase = np.unwrap(np.angle(mean)) / (2 * np.pi) + speed * number
        # A delay of more than half a unit is more likely than a stamp a quarter of a unit too early.
        whole = np.floor(rest - phase + 0.25) if delayed else np.round(rest - phase)
        if delayed:
            # At the end few stamps follow: a loss there must be confirmed by more stamps than can be late by chance.
            late = float(np.mean(seen - rest > 0.75))
            confirmed = int(np.ceil(np.log(1e-3) / np.log(late))) if 0 < late < 1 else 1
            whole[-confirmed:] = np.minimum(whole[-confirmed:], whole[-min(confirmed, len(whole))])
        elif len(whole) > 4:
            whole = median_filter(whole, size=max(width, 3), mode="reflect")
        more = np.minimum.accumulate(whole[::-1])[::-1]
        more -= more[0]
        lost = lost + more * batches.unit
        refined = _slope(index + lost, stamps, period)
        done = abs(refined / period - 1) < 1e-6 and not more.any()
        period = refined
        if done:
            break
    return lost, period


def _one_sided(rest: np.ndarray, width: int) -> bool:
    """Whether the residuals have a steep lower edge and a long upper tail around their running median."""
    some = rest[:_ENOUGH]
    return skewed(some - median_filter(some, size=min(width | 1, len(some)), mode="nearest"))


def skewed(rest: np.ndarray) -> bool:
    """Whether residuals are delays, which are late but never early: by the skewness of their quantiles.

    It is 0 for normal jitter, 0.36 for half-normal and 0.56 for exponential delays.
    """
    low, middle, high = (float(q) for q in np.quantile(rest, [0.05, 0.5, 0.95]))
    return high + low - 2 * middle > _SKEWED * (high - low) > 0


def _turning(turn: np.ndarray, length: int) -> float:
    """Cycles per anchor by which the phases turn, from the sum of the spectra of blocks of a length."""
    size = min(length, len(turn))
    blocks = turn[: len(turn) // size * size].reshape(-1, size)
    spectrum = np.sum(np.abs(np.fft.fft(blocks, n=8 * size, axis=1)) ** 2, axis=0)
    frequencies = np.fft.fftfreq(8 * size)
    near = np.abs(frequencies) <= 0.1
    return float(frequencies[near][np.argmax(spectrum[near])])


def _blurred(turn: np.ndarray, spread: float) -> np.ndarray:
    """Running mean of unit phasors; its absolute value is their concentration."""
    # Two running means make a triangle of about this deviation, at a cost that does not grow with it.
    size = max(3, round(2.4 * min(spread, len(turn) / 4))) | 1

    def blur(part: np.ndarray) -> np.ndarray:
        once = uniform_filter1d(part, size, mode="constant")
        return np.asarray(uniform_filter1d(once, size, mode="constant"))

    return np.asarray((blur(turn.real) + 1j * blur(turn.imag)) / blur(np.ones(len(turn))))


def _slope(count: np.ndarray, stamps: np.ndarray, period: float) -> float:
    """Seconds per slot over the whole stream, by a line with outliers removed."""
    x = count - count.mean()
    weights = np.ones(len(x))
    slope = period
    for _ in range(4):
        centre = np.average(x, weights=weights)
        level = np.average(stamps, weights=weights)
        spread = np.sum(weights * (x - centre) ** 2)
        if spread <= 0:
            return period
        slope = float(np.sum(weights * (x - centre) * (stamps - level)) / spread)
        rest = stamps - level - slope * (x - centre)
        scale = max(1.4826 * float(np.median(np.abs(rest - np.median(rest)))), 1e-4 * period)
        weights = 1 / (1 + (rest / (3 * scale)) ** 2)
    return slope if slope > 0 else period


def _by_rounding(index: np.ndarray, stamps: np.ndarray, batches: Batches) -> np.ndarray:
    """Lost samples from each step alone: a few stamps have no phase."""
    late = np.diff(stamps) - batches.period * np.diff(index)
    whole = np.maximum(np.round(late / (batches.unit * batches.period)), 0)
    return np.concatenate([[0.0], np.cumsum(whole * batches.unit)])


def _by_steps(index: np.ndarray, stamps: np.ndarray, batches: Batches, period: float) -> np.ndarray:
    """Lost samples where the stamps scatter by more than a unit: only steps that exceed the scatter count."""
    lost = np.zeros(len(index))
    for _ in range(20):
        rest = stamps - period * (index + lost)
        calm = median_filter(rest, size=min(5, len(rest)), mode="nearest")
        sums = np.concatenate([[0.0], np.cumsum(calm - calm[0])])
        least = max(batches.unit * period, 1e-9)
        found = False
        for width in (3, 12, 50):
            if len(rest) < 2 * width + 1:
                break
            middle = (sums[width:] - sums[:-width]) / width
            rise = middle[width:] - middle[:-width]  # at split i + width: after minus before
            scatter = 1.4826 * float(np.median(np.abs(rise - np.median(rise))))
            need = max(1.5 * least, 8 * scatter)
            at = int(np.argmax(rise))
            if rise[at] < need:
                continue
            split = at + width
            near = np.arange(max(1, split - width), min(len(rest), split + width))
            split = int(near[np.argmax(np.diff(rest)[near - 1])])
            before, after = rest[max(0, split - width) : split], rest[split : split + width]
            step = float(np.median(after) - np.median(before))
            whole = round(step / least)
            if whole >= 1:
                lost[split:] += whole * batches.unit
                found = True
                break
        if not found:
            break
    return lost
