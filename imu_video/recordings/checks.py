"""The built-in quality checks, one class each; quality.py applies the policy to their findings.

docs/guides/signal.md gives the reason for each default and its false positive rate on healthy recordings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from imu_video.arguments import Count, InsideUnit
from imu_video.recordings.sync import SyncEstimate
from imu_video.registry import checks
from imu_video.types import GRAVITY, ImuStream

_KINDS = ("acc", "gyr")
_ROUNDING = 1e-9
Threshold = Annotated[float, Field(gt=0)]
"""The value from which on a check reports; infinity switches the check off."""


@dataclass(frozen=True, kw_only=True)
class Spell:
    """An interval with a fault: ``start`` <= t < ``end`` in seconds on the recording's clock, and its severity."""

    start: float
    end: float
    value: float


class Check:
    """Base class of the checks, without findings. A check overrides one of `stream`, `clip` and `sync`.

    Class attributes: ``unit`` of its values and threshold; ``needs_gravity`` if it is only valid on accelerations that
    include gravity. ``threshold`` is the value from which on the check reports a finding.
    """

    unit: ClassVar[str] = ""
    needs_gravity: ClassVar[bool] = False
    threshold: float = 0.0

    def stream(self, stream: ImuStream) -> list[Spell]:
        """Intervals of a device with a fault."""
        return []

    def clip(self, clip: np.ndarray) -> float | None:
        """The value of the fault in a window's clip (F, H, W, 3) uint8, or None without a fault."""
        return None

    def sync(self, estimate: SyncEstimate, min_score: float) -> list[Spell]:
        """Intervals in which the synchronisation of video or skeleton is not reliable."""
        return []

    def worst(self, values: Sequence[float]) -> float:
        """The value that the report shows for several findings: the largest."""
        return max(values)


@checks.register("flat")
class Flat(Check):
    """All three axes of a sensor constant: dead, disconnected, or a logger that repeats its last sample.

    Args:
        seconds: shortest duration; the noise of a live sensor changes at least one axis within a few samples.
        tolerance: largest step between samples that counts as constant, in m/s^2 and rad/s.
    """

    unit = "s"

    def __init__(self, *, seconds: Threshold = 1.0, tolerance: Annotated[float, Field(ge=0)] = 0.0) -> None:
        self.threshold, self.tolerance = seconds, tolerance

    def stream(self, stream: ImuStream) -> list[Spell]:
        spells = []
        for times, values in _sensors(stream):
            still = np.ones(len(times) - 1, dtype=bool)
            for row in values:  # one axis that changes is enough, so most sensors are settled after the first row
                still &= np.abs(np.diff(row)) <= self.tolerance
                if not still.any():
                    break
            for a, b in _runs(still):
                length = float(times[b] - times[a])
                if length >= self.threshold:
                    spells.append(Spell(start=float(times[a]), end=float(times[b]), value=length))
        return spells


@checks.register("saturated")
class Saturated(Check):
    """An axis that stays at its largest or smallest value: the motion exceeded the sensor's range.

    Args:
        samples: consecutive samples at the extreme; without clipping, noise moves an axis off its extreme at once.
        acc: smallest extreme in m/s^2 that can be the limit of a range; the smallest ranges on the market are +-2 g.
        gyr: the same in rad/s; the smallest ranges are +-250 deg/s.
    """

    unit = "samples"

    def __init__(self, *, samples: Count = 3, acc: Threshold = 1.9 * GRAVITY, gyr: Threshold = 4.3) -> None:
        self.threshold = samples
        self.least = {"acc": acc, "gyr": gyr}

    def stream(self, stream: ImuStream) -> list[Spell]:
        spells = []
        for row, channel in enumerate(stream.channels):
            times, x = stream.times, stream.values[row]
            if not stream.complete:
                known = np.isfinite(x)
                times, x = times[known], x[known]
            high, low = (x.max(), x.min()) if len(x) else (0.0, 0.0)
            # A constant axis is the finding of `flat`; reporting it as clipped as well would double every dead sensor.
            for extreme in (high, low) if high > low else ():
                if abs(extreme) < self.least[channel[:3]]:
                    continue
                for a, b in _runs(x == extreme):
                    if b - a >= self.threshold:
                        spells.append(Spell(start=float(times[a]), end=float(times[b - 1]), value=float(b - a)))
        return sorted(spells, key=lambda spell: (spell.start, spell.end))


@checks.register("gap")
class Gap(Check):
    """An interval without samples of a sensor that is longer than the resampler interpolates.

    Args:
        seconds: shortest interval between two measured samples.
    """

    unit = "s"

    def __init__(self, *, seconds: Threshold = 0.5) -> None:
        self.threshold = seconds

    def stream(self, stream: ImuStream) -> list[Spell]:
        spells = []
        for times, _ in _sensors(stream):
            steps = np.diff(times)
            for at in np.flatnonzero(steps > self.threshold):
                spells.append(Spell(start=float(times[at]), end=float(times[at + 1]), value=float(steps[at])))
        return spells


@checks.register("clock_jump")
class ClockJump(Check):
    """A clock that jumps ahead of the sample count, or almost stands still for many samples.

    Args:
        seconds: a step of this length between two rows of a file is a clock that was set or a paused recording.
        samples: this many consecutive rows, each less than a tenth of the median period apart, are bunched stamps.
    """

    unit = "s"

    def __init__(self, *, seconds: Threshold = 10.0, samples: Count = 50) -> None:
        self.threshold, self.samples = seconds, samples

    def stream(self, stream: ImuStream) -> list[Spell]:
        times = stream.times
        steps = np.diff(times)
        period = stream.period
        spells = [
            Spell(start=float(times[at]), end=float(times[at + 1]), value=float(steps[at]))
            for at in np.flatnonzero(steps > self.threshold)
        ]
        spells += [
            # The value is the time that the clock lost: the rows at the usual period, minus what the clock counted.
            Spell(start=float(times[a]), end=float(times[b]), value=float((b - a) * period - (times[b] - times[a])))
            for a, b in _runs(steps < 0.1 * period)
            if b - a >= self.samples
        ]
        return sorted(spells, key=lambda spell: spell.start)


@checks.register("gravity_norm")
class GravityNorm(Check):
    """An acceleration whose median norm is not 1 g: wrong unit, lost axis, bad calibration or gravity removed.

    Args:
        low, high: bounds in g of the median norm over ``seconds``, each widened by twice the norm's deviation: at rest
            and while walking the median is within a few per cent of 1 g, during hops and jumps it varies widely.
        seconds: length of the segments over which the median is taken; a shorter recording is one segment.
    """

    unit = "g"
    needs_gravity = True

    def __init__(
        self,
        *,
        low: InsideUnit = 0.8,
        high: Annotated[float, Field(gt=1)] = 1.25,
        seconds: Threshold = 10.0,
    ) -> None:
        self.low, self.high, self.seconds = low, high, seconds
        self.threshold = low

    def stream(self, stream: ImuStream) -> list[Spell]:
        rows = [i for i, c in enumerate(stream.channels) if c.startswith("acc")]
        if len(rows) < 3:
            return []
        times, values = _measured(stream, rows)
        if not len(times):
            return []
        norm = np.sqrt(values[0] ** 2 + values[1] ** 2 + values[2] ** 2) / GRAVITY
        count = max(1, int((times[-1] - times[0]) // self.seconds))
        edges = np.linspace(times[0], times[-1], count + 1)
        bounds = [*np.searchsorted(times, edges[:-1]), len(times)]
        spells = []
        for piece, (a, b) in enumerate(pairwise(bounds)):
            if b == a:
                continue
            part = norm[a:b]
            mean, spread = float(part.mean()), float(part.std())
            # A median lies within one standard deviation of the mean, so the mean settles almost every segment; the
            # median, which has to sort, is computed only for the rest.
            if self.low - spread + _ROUNDING <= mean <= self.high + spread - _ROUNDING:
                continue
            median = float(np.median(part))
            if not self.low - 2 * spread <= median <= self.high + 2 * spread:
                spells.append(Spell(start=float(edges[piece]), end=float(edges[piece + 1]), value=median))
        return spells

    def worst(self, values: Sequence[float]) -> float:
        """The median furthest from 1 g, as a ratio."""
        return max(values, key=lambda value: abs(np.log(max(value, 1e-3))))


@checks.register("non_finite")
class NonFinite(Check):
    """Infinite values, or samples in which a sensor lacks some but not all of its axes.

    A sample that lacks all axes is a missing sample, not a fault: see ``gap``.

    Args:
        samples: number of these samples per recording from which on they are reported.
    """

    unit = "samples"

    def __init__(self, *, samples: Count = 1) -> None:
        self.threshold = samples

    def stream(self, stream: ImuStream) -> list[Spell]:
        if stream.complete:
            return []
        bad = np.isinf(stream.values).any(axis=0)
        for kind in _KINDS:
            rows = [i for i, c in enumerate(stream.channels) if c.startswith(kind)]
            # An axis without any value does not exist on this device; that is not a fault of single samples.
            rows = [i for i in rows if np.isfinite(stream.values[i]).any()]
            if rows:
                missing = np.isnan(stream.values[rows])
                bad |= missing.any(axis=0) & ~missing.all(axis=0)
        if np.count_nonzero(bad) < self.threshold:
            return []
        period = stream.period
        return [
            Spell(start=float(stream.times[a]), end=float(stream.times[b - 1]) + period, value=float(b - a))
            for a, b in _runs(bad)
        ]


@checks.register("black_video")
class BlackVideo(Check):
    """A clip with at least half of its frames dark: a covered lens, a dead camera or a failed decoder.

    Args:
        level: mean grey level of a frame, 0..255, below which it is dark; black in limited range is 16 before decoding
            and 0 after.
    """

    unit = "grey level"

    def __init__(self, *, level: Threshold = 8.0) -> None:
        self.threshold = level

    def clip(self, clip: np.ndarray) -> float | None:
        level = float(np.median(clip.mean(axis=(1, 2, 3))))
        return level if level < self.threshold else None

    def worst(self, values: Sequence[float]) -> float:
        """The darkest clip: the smallest value."""
        return min(values)


@checks.register("frozen_video")
class FrozenVideo(Check):
    """A clip whose frames are all the same: a camera that froze, or a video that ended before its sound.

    Args:
        level: mean absolute change of grey levels between frames below which frames count as equal; camera noise alone
            is above 0.1 after compression.
        frames: smallest number of frames for which the check is applied.
    """

    unit = "grey levels"

    def __init__(self, *, level: Threshold = 0.02, frames: Count = 3) -> None:
        self.threshold, self.frames = level, frames

    def clip(self, clip: np.ndarray) -> float | None:
        if len(clip) < self.frames:
            return None
        pairs = zip(clip[1:], clip[:-1], strict=True)
        change = max(float(np.abs(a.astype(np.int16) - b).mean()) for a, b in pairs)
        return change if change < self.threshold else None

    def worst(self, values: Sequence[float]) -> float:
        """The clip with the least change: the smallest value."""
        return min(values)


@checks.register("low_sync")
class LowSync(Check):
    """A video or skeleton whose sync estimate scores below ``sync.min_score``: its alignment is not confirmed."""

    unit = "score"

    def sync(self, estimate: SyncEstimate, min_score: float) -> list[Spell]:
        if estimate.score >= min_score:
            return []
        return [Spell(start=-np.inf, end=np.inf, value=estimate.score)]

    def worst(self, values: Sequence[float]) -> float:
        """The lowest score."""
        return min(values)


def _sensors(stream: ImuStream) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Times (n,) and values (c, n) of each sensor of a device, at the samples that it measured."""
    for kind in _KINDS:
        rows = [i for i, c in enumerate(stream.channels) if c.startswith(kind)]
        if rows:
            times, values = _measured(stream, rows)
            if len(times) > 1:
                yield times, values


def _measured(stream: ImuStream, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) and values (c, n) of some rows where all of them were measured; without a copy where possible."""
    consecutive = list(rows) == list(range(rows[0], rows[0] + len(rows)))
    values = stream.values[rows[0] : rows[0] + len(rows)] if consecutive else stream.values[list(rows)]
    if stream.complete:
        return stream.times, values
    known = np.isfinite(values).all(axis=0)
    return stream.times[known], values[:, known]


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First index and one past the last index of every run of True.

    Example:
        >>> _runs(np.array([True, True, False, True]))
        [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, dtype=np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
