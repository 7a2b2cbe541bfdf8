"""Times of samples that a device stores in blocks, each with one time stamp; no file format.

Loggers write a time stamp per block of some dozens or hundreds of samples, and their crystal runs a few per cent off
the nominal rate. The samples of a block are therefore spread from its own time stamp to that of the next block where
the two agree with the nominal rate, and at the rate of the neighbouring blocks where samples are missing in between.
No samples are filled in: a gap remains a gap.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from imu_video.errors import RecordingError

RATE_TOLERANCE = 0.15
"""Largest relative deviation of a block's rate from the nominal rate; beyond it samples are missing or doubled."""

_AVERAGED_S = 3600.0
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockTimes:
    """Times of the samples of all usable blocks.

    Args:
        times: (T,) seconds, strictly increasing, samples of the kept blocks in order.
        kept: (N,) indices of the N kept blocks, in the order of the file.
        dropped: blocks whose time stamp lies inside or before an earlier block.
        gaps: places between two blocks where samples are missing.
        gap_s: seconds without samples at these places together.
    """

    times: np.ndarray
    kept: np.ndarray
    dropped: int
    gaps: int
    gap_s: float


def block_times(
    starts: np.ndarray, counts: np.ndarray, *, rate_hz: float, source: str, resolution_s: float = 0.0
) -> BlockTimes:
    """Times of all samples from the start times of their blocks.

    Blocks out of order are dropped so that as many blocks as possible remain. Coarse time stamps are averaged over an
    hour at the nominal rate, because a rate from two of them would be wrong by their resolution.

    Args:
        starts: (N,) seconds of the first sample of each block.
        counts: (N,) samples per block, >= 1.
        rate_hz: nominal rate, > 0.
        source: file, for error messages.
        resolution_s: step of the time stamps where it is coarser than a sample, in seconds.

    Raises:
        RecordingError: no block, or a clock that cannot be put in order without losing half of the blocks.

    Example:
        >>> found = block_times(np.array([0.0, 1.04, 4.0]), np.array([4, 4, 2]), rate_hz=4.0, source="f")
        >>> found.times.round(3).tolist()
        [0.0, 0.26, 0.52, 0.78, 1.04, 1.3, 1.56, 1.82, 4.0, 4.26]
        >>> found.gaps, round(found.gap_s, 2)
        (1, 1.92)
    """
    total = len(starts)
    if total == 0:
        raise RecordingError(f"{source}: no block of samples", hint="copy the file from the device again")
    kept = _in_order(starts, np.maximum(counts / rate_hz * (1 - RATE_TOLERANCE) - resolution_s, 0.0))
    if 2 * len(kept) < total:
        raise RecordingError(
            f"{source}: the clock of the device runs backwards; only {len(kept)} of {total} blocks are in order",
            hint="split the file where the clock was set, or export it again with the program of the manufacturer",
        )
    starts, counts = starts[kept], counts[kept].astype(np.int64)
    lengths = counts[:-1] / rate_hz
    adjacent = np.abs(np.diff(starts) - lengths) <= np.maximum(RATE_TOLERANCE * lengths, 1.01 * resolution_s)
    if resolution_s:
        starts = _smoothed(starts, counts, adjacent, rate_hz)
    steps = np.diff(starts) / counts[:-1]
    usual = float(np.median(steps[adjacent])) if adjacent.any() else 1 / rate_hz
    periods = np.full(len(starts), usual)
    periods[:-1][adjacent] = steps[adjacent]
    if counts.sum() < 2:
        raise RecordingError(f"{source}: one sample, expected at least 2")
    if np.any(periods <= 0) or np.any(starts[1:] <= starts[:-1] + (counts[:-1] - 1) * periods[:-1]):
        raise RecordingError(f"{source}: the clock of the device jumps; the times of its samples overlap")
    times = _spread(starts, counts, periods)
    missing = np.diff(starts) - counts[:-1] * usual
    holes = missing[~adjacent & (missing > usual / 2)]
    return BlockTimes(
        times=times,
        kept=kept,
        dropped=total - len(kept),
        gaps=len(holes),
        gap_s=float(holes.sum()) if len(holes) else 0.0,
    )


def _spread(starts: np.ndarray, counts: np.ndarray, periods: np.ndarray) -> np.ndarray:
    """Times of all samples; some thousand blocks at once, since a week of samples has half a gigabyte of times."""
    times = np.empty(int(counts.sum()))
    done = 0
    for first in range(0, len(starts), _CHUNK):
        part = slice(first, first + _CHUNK)
        size = counts[part]
        numbers = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        times[done : done + len(numbers)] = np.repeat(starts[part], size) + numbers * np.repeat(periods[part], size)
        done += len(numbers)
    return times


def _smoothed(starts: np.ndarray, counts: np.ndarray, adjacent: np.ndarray, rate_hz: float) -> np.ndarray:
    """Starts at the nominal rate plus their deviation from it, averaged per hour, for each run without a gap."""
    smooth = np.empty(len(starts))
    bounds = [0, *(np.flatnonzero(~adjacent) + 1).tolist(), len(starts)]
    for first, last in pairwise(bounds):
        run = slice(first, last)
        ideal = starts[first] + (np.cumsum(counts[run]) - counts[run]) / rate_hz
        hours = ((ideal - ideal[0]) // _AVERAGED_S).astype(np.int64)
        sizes = np.bincount(hours)
        centres = np.bincount(hours, ideal) / np.maximum(sizes, 1)
        offsets = np.bincount(hours, starts[run] - ideal) / np.maximum(sizes, 1)
        smooth[run] = ideal + np.interp(ideal, centres[sizes > 0], offsets[sizes > 0])
    return smooth


def _in_order(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices of blocks that start at or after the end of the kept block before; all of them in the usual case."""
    everything = np.arange(len(starts))
    usable = everything[np.isfinite(starts)]
    if np.all(np.diff(starts[usable]) >= lengths[usable][:-1]):
        return usable
    longest = _longest_increasing(starts[usable].tolist())
    kept: list[int] = []
    end = -np.inf
    for index in usable[longest].tolist():
        if starts[index] >= end:
            kept.append(index)
            end = starts[index] + lengths[index]
    return np.array(kept, dtype=np.int64)


def _longest_increasing(values: list[float]) -> list[int]:
    """Indices of a longest increasing subsequence, so that one wrong time stamp costs one block and not the rest."""
    ends: list[float] = []  # smallest last value of an increasing subsequence of each length
    places: list[int] = []
    before = [-1] * len(values)
    for index, value in enumerate(values):
        length = bisect_right(ends, value)
        if length == len(ends):
            ends.append(value)
            places.append(index)
        else:
            ends[length], places[length] = value, index
        before[index] = places[length - 1] if length else -1
    found = []
    index = places[-1] if places else -1
    while index >= 0:
        found.append(index)
        index = before[index]
    return found[::-1]
