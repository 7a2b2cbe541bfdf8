"""Units of IMU streams and whether values can be in them; resampling is in signal.py.

Units are inferred from two physical facts, not only from the size of the numbers:

- The mean acceleration over a second is gravity, whatever the motion: its size determines the unit, and if it is small
  compared with the motion, gravity has been removed.
- The direction of gravity in the sensor's frame rotates at the rate that the gyroscope measures, du/dt = u x w. The
  factor between both is 1 for rad/s and 57.3 for deg/s read as rad/s.

If a recording has too little motion for either, the error states this and suggests no unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from imu_video.errors import RecordingError, nearest
from imu_video.types import GRAVITY

UNITS: dict[str, dict[str, float]] = {
    "acc": {"m/s^2": 1.0, "g": GRAVITY, "mg": GRAVITY / 1000},
    "gyr": {"rad/s": 1.0, "deg/s": math.pi / 180},
}
"""Known units by channel kind, with the factor to SI."""

GravityState = Literal["included", "removed", "unknown"]

_WINDOW_S = 1.0  # a second holds at least one step of a walk, so that the mean acceleration is gravity
_TURN_S = 0.3  # time over which the direction of gravity is compared; body motion is faster, changes of posture slower


def convert(values: np.ndarray, unit: str, kind: str) -> np.ndarray:
    """Convert to SI units: ``acc`` to m/s^2, ``gyr`` to rad/s; g is standard gravity.

    Args:
        values: any shape.
        unit: ``m/s^2``, ``g`` or ``mg`` for acc; ``rad/s`` or ``deg/s`` for gyr.
        kind: ``acc`` or ``gyr``.

    Raises:
        RecordingError: unknown kind or unit.

    Example:
        >>> float(convert(np.array(180.0), "deg/s", "gyr").round(4))
        3.1416
    """
    if kind not in UNITS:
        raise RecordingError(f"unknown channel kind {kind!r}{nearest(kind, UNITS)}")
    if unit not in UNITS[kind]:
        raise RecordingError(
            f"unknown unit {unit!r} of {kind}{nearest(unit, UNITS[kind])}",
            hint=f"use one of the units of {kind}: {', '.join(UNITS[kind])}",
        )
    return np.asarray(values, dtype=np.float64) * UNITS[kind][unit]


@dataclass(frozen=True, kw_only=True)
class GravityEvidence:
    """Evidence of the mean acceleration for unit and gravity.

    Args:
        level: median size of the mean vector over a second, in the unit of the values.
        spread: half the range from its 10th to its 90th percentile, as a fraction of ``level``: small where the level
            is that of gravity, which has one size in every posture.
        central: the same from its 25th to its 75th percentile: seconds of violent motion do not affect it.
        motion: root mean square of the acceleration around these means.
        windows: number of seconds.
    """

    level: float
    spread: float
    central: float
    motion: float
    windows: int


@dataclass(frozen=True, kw_only=True)
class TurnEvidence:
    """Evidence of the rotation of gravity for the unit of the gyroscope.

    Args:
        factor: angular rate at which gravity rotates, divided by the values of the gyroscope.
        correlation: of both, -1 .. 1.
        turned: sum of the angles in radians by which gravity rotated, from the accelerometer.
    """

    factor: float
    correlation: float
    turned: float


def gravity_evidence(times: np.ndarray, acc: np.ndarray) -> GravityEvidence | None:
    """Size of the mean acceleration, or None below three seconds of samples.

    Args:
        times: (T,) seconds, increasing.
        acc: (3, T) in any unit; NaN where missing.
    """
    known = np.isfinite(acc).all(axis=0)
    times, acc = times[known], acc[:, known]
    if len(times) < 12:
        return None
    number = np.floor((times - times[0]) / _WINDOW_S).astype(np.int64)
    first = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1])
    count = np.diff([*first, len(times)])
    mean = np.add.reduceat(acc, first, axis=1) / count
    full = count >= 0.5 * np.median(count)
    if np.count_nonzero(full) < 3 or np.median(count) < 4:
        return None
    size = np.linalg.norm(mean[:, full], axis=0)
    low, lower, level, upper, high = (float(q) for q in np.quantile(size, [0.1, 0.25, 0.5, 0.75, 0.9]))
    rest = acc - np.repeat(mean, count, axis=1)
    return GravityEvidence(
        level=level,
        spread=(high - low) / 2 / level if level > 0 else math.inf,
        central=(upper - lower) / 2 / level if level > 0 else math.inf,
        motion=float(np.sqrt(np.mean(np.sum(rest**2, axis=0)))),
        windows=int(np.count_nonzero(full)),
    )


def turn_evidence(times: np.ndarray, acc: np.ndarray, gyr: np.ndarray) -> TurnEvidence | None:
    """Relation of the gyroscope to the rotation of gravity, or None without enough samples.

    Args:
        times: (T,) seconds, increasing.
        acc: (3, T) with gravity, in any unit.
        gyr: (3, T) in any unit; NaN where missing.
    """
    known, measured = np.isfinite(acc).all(axis=0), np.isfinite(gyr).all(axis=0)
    if not known.any() or not measured.any():
        return None
    if np.count_nonzero(known & measured) < 0.5 * np.count_nonzero(known):
        # Two sensors with clocks of their own: the rate at the times of the accelerometer.
        gyr = np.stack([np.interp(times, times[measured], row[measured]) for row in gyr])
    else:
        known &= measured
    times, acc, gyr = times[known], acc[:, known], gyr[:, known]
    if len(times) < 12 or times[-1] - times[0] < 10 * _TURN_S:
        return None
    # Block means over a third of a second: gravity before and after a block, and the mean rate in between.
    number = np.floor((times - times[0]) / _TURN_S).astype(np.int64)
    first = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1])
    count = np.diff([*first, len(times)])
    if len(first) < 10 or np.median(count) < 3:
        return None
    up = np.add.reduceat(acc, first, axis=1) / count
    rate = np.add.reduceat(gyr, first, axis=1) / count
    moment = np.add.reduceat(times, first) / count
    up /= np.maximum(np.linalg.norm(up, axis=0), 1e-12)
    # From block i - 1 to i + 1 gravity turns by the rate of the blocks between, half of the outer ones.
    step = moment[2:] - moment[:-2]
    near = step <= 3 * _TURN_S
    angle = (rate[:, 1:-1] / 2 + (rate[:, 2:] + rate[:, :-2]) / 4) * step
    said = np.cross(up[:, 1:-1], angle, axis=0)[:, near]
    seen = (up[:, 2:] - up[:, :-2])[:, near]
    size, both = float(np.sum(said**2)), float(np.sum(said * seen))
    if size <= 0 or not np.any(seen):
        return None
    # A robust second pass: blocks in which body motion, not gravity, turned the vector do not fit and weigh less.
    factor = both / size
    for _ in range(5):
        rest = np.linalg.norm(seen - factor * said, axis=0)
        weight = 1 / (1 + (rest / max(2 * float(np.median(rest)), 1e-9)) ** 2)
        factor = float(np.sum(weight * said * seen) / max(np.sum(weight * said**2), 1e-300))
    correlation = float(
        np.sum(weight * said * seen)
        / np.sqrt(max(float(np.sum(weight * said**2)) * float(np.sum(weight * seen**2)), 1e-300))
    )
    turned = float(np.sum(np.linalg.norm(seen, axis=0))) / 2
    return TurnEvidence(factor=factor, correlation=correlation, turned=turned)


# ---------------------------------------------------------------------------------------------------- plausibility

_NORM_G = (0.5, 2.0)  # median size of an acceleration that includes gravity, in g: rest 1, jumping jacks 1.9
_LINEAR_G = 1.0  # median size of an acceleration without gravity: more than that is not kept up for seconds
_FREE = ((5, 0.4), (3, 0.3))  # (seconds, ratio): below it gravity has been removed; with gravity it was 0.46 and 0.31
_HELD = 0.55  # ratio from which on the mean acceleration may be gravity ...
_HALF_G = 0.5  # a mean over a second that is larger is gravity: without it, speed would change by 5 m/s each second
_STEADY = 0.3  # ... if its size varies by no more than this fraction: gravity has one size in every posture
_FITS_G = (0.75, 1.33)  # size of gravity in a unit that fits: sensors are off by a few per cent, posture adds some
_COUNTS = 48  # from this number per g on numbers may be raw counts
_ENOUGH = 200_000  # samples: more than an hour at 50 Hz
_FASTEST = 60.0  # rad/s, 3400 deg/s: no wearable has a larger range
_TURNS = (0.6, 2.0)  # correlation and radians from which on the turning of gravity is evidence
_FACTOR = (0.06, 6.0)  # of the gyroscope: right units gave 0.2 .. 1.4, the others are 57 times more or less


def check_plausible(
    values: np.ndarray,
    channels: Sequence[str],
    *,
    source: str,
    acc_unit: str = "m/s^2",
    gyr_unit: str = "rad/s",
    times: np.ndarray | None = None,
    gravity: GravityState = "included",
    scale: Mapping[str, float] | None = None,
) -> None:
    """Raise an error when the values of a stream cannot be wearable motion in their declared units.

    With gravity, the median norm of the acceleration must lie within 0.5 .. 2 g, and its mean over a second must not be
    small compared with the motion; without gravity, the median norm must stay below 1 g, and the mean must not be 1 g.
    The angular rate must stay below 60 rad/s in 99.9 % of the samples, and must agree with the rotation of gravity
    within a factor of 6 if gravity rotates enough. The acceleration is not checked if an axis was not measured.

    Args:
        values: (C, T) after conversion to SI; NaN where missing.
        channels: C canonical names.
        source: file or stream, for the error message.
        acc_unit, gyr_unit: the declared units; the error suggests another one if there is evidence for it.
        times: (T,) seconds; without them the gyroscope is not compared with the rotation of gravity.
        gravity: whether the acceleration was declared to include gravity; ``unknown`` skips its check.
        scale: ``acc`` or ``gyr`` -> factor by which the numbers of the file were multiplied before the unit.

    Raises:
        RecordingError: implausible values; the hint contains the unit for which there is evidence.

    Example:
        >>> still = np.tile([[0.0], [0.0], [1.0]], 500)
        >>> check_plausible(still, ["acc_x", "acc_y", "acc_z"], source="a.csv")
        Traceback (most recent call last):
            ...
        imu_video.errors.RecordingError: a.csv: median acceleration is 0.102 g when read as m/s^2, expected 0.5 .. 2 g
          try: the numbers look like g: gravity is then 1 g. Declare that unit
    """
    rows = {c: i for i, c in enumerate(channels)}
    acc = [rows[c] for c in ("acc_x", "acc_y", "acc_z") if c in rows]
    clock = np.arange(values.shape[1]) / 50.0 if times is None else np.asarray(times, dtype=np.float64)
    some = _enough(len(clock))
    if len(acc) == 3 and gravity != "unknown":
        factor = (scale or {}).get("acc", 1.0)
        _check_acceleration(clock[some], values[acc][:, some], source, acc_unit, gravity, factor)
    gyr = [rows[c] for c in ("gyr_x", "gyr_y", "gyr_z") if c in rows]
    if gyr:
        turn = None
        if len(acc) == len(gyr) == 3 and times is not None and gravity == "included":
            turn = turn_evidence(clock[some], values[acc][:, some], values[gyr][:, some])
        _check_rate_of_turn(values[gyr], source, gyr_unit, turn, (scale or {}).get("gyr", 1.0))


def _enough(samples: int) -> np.ndarray | slice:
    """The samples that are examined: all, or ten stretches of a long recording, since a unit does not change in it."""
    if samples <= _ENOUGH:
        return slice(None)
    size = _ENOUGH // 10
    starts = np.linspace(0, samples - size, 10).astype(np.int64)
    return np.asarray((starts[:, None] + np.arange(size)).ravel())


def _check_acceleration(
    times: np.ndarray, acc: np.ndarray, source: str, unit: str, gravity: GravityState, scale: float
) -> None:
    squares = np.sum(np.asarray(acc, dtype=np.float64) ** 2, axis=0)
    squares = squares[np.isfinite(squares)]
    if not len(squares):
        return
    median = math.sqrt(float(np.median(squares))) / GRAVITY
    mean = gravity_evidence(times, acc)
    read = f"when read as {unit}"
    if gravity == "removed":
        fits = _fitting(mean.level / UNITS["acc"][unit]) if mean is not None and _is_gravity(mean) else []
        if mean is not None and fits:
            size = mean.level / UNITS["acc"][unit] * UNITS["acc"][fits[0]] / GRAVITY
            raise RecordingError(
                f"{source}: the mean acceleration over a second is constant, {size:.3g} g when read as {fits[0]}, but "
                "gravity is declared as removed",
                hint="the acceleration includes gravity: leave out `gravity: removed`",
            )
        if median > _LINEAR_G:
            raise RecordingError(
                f"{source}: median acceleration without gravity is {median:.3g} g {read}, expected below 1 g",
                hint=_other_units(median, unit),
            )
        return
    outside = not _NORM_G[0] <= median <= _NORM_G[1]
    seen = f"{source}: median acceleration is {median:.3g} g {read}, expected 0.5 .. 2 g"
    # In a plausible unit, half a g of mean or more is gravity that a loose and clipped sensor turns: 0.63 g was seen in
    # a runner's pocket. In another unit its size is no evidence.
    turned = mean is not None and not outside and mean.level >= _HALF_G * GRAVITY
    if mean is not None and _is_free(mean) and not _is_one_g(mean) and not turned:
        level, motion = mean.level / GRAVITY, mean.motion / GRAVITY
        found = f"its mean over a second is only {level:.3g} g, beside motion of {motion:.3g} g"
        raise RecordingError(
            f"{seen}; {found}" if outside else f"{source}: acceleration without gravity {read}: {found}",
            hint="gravity has been removed from these values (linear or user acceleration): declare "
            "`gravity: removed`, or use the acceleration with gravity if the files have it; the data does not "
            "determine the unit of such values",
        )
    if outside:
        raise RecordingError(seen, hint=_unit_of_gravity(squares, mean, unit, scale))


def _ratio(mean: GravityEvidence) -> float:
    return mean.level / max(math.hypot(mean.level, mean.motion), 1e-300)


def _is_free(mean: GravityEvidence) -> bool:
    """Whether the mean acceleration is so small compared with the motion that it cannot contain gravity."""
    return any(mean.windows >= windows and _ratio(mean) < ratio for windows, ratio in _FREE)


def _is_one_g(mean: GravityEvidence) -> bool:
    """Whether half of the mean accelerations are 1 g: gravity is included, beside seconds of shaking or impacts."""
    return 0.9 <= mean.level / GRAVITY <= 1.1 and mean.central <= 0.1


def _is_gravity(mean: GravityEvidence) -> bool:
    """Whether the mean acceleration dominates and has a constant size, as gravity has."""
    return _ratio(mean) >= _HELD and mean.spread <= _STEADY


def _fitting(level: float) -> list[str]:
    """The units in which a mean acceleration has the size of gravity: one or none."""
    return [unit for unit, factor in UNITS["acc"].items() if _FITS_G[0] <= level * factor / GRAVITY <= _FITS_G[1]]


def _unit_of_gravity(squares: np.ndarray, mean: GravityEvidence | None, unit: str, scale: float) -> str:
    """Hint for an acceleration of an implausible size: the unit in which its mean is 1 g, if it is gravity at all."""
    declared = "" if scale == 1.0 else f" in place of {scale:.6g}"
    factor = UNITS["acc"][unit]
    level, steady = 0.0, False
    if mean is not None:
        level, steady = mean.level, _is_gravity(mean)
    else:
        # Too short for means over seconds: at rest the norm itself is gravity.
        low, level, high = (math.sqrt(float(q)) for q in np.quantile(squares, [0.1, 0.5, 0.9]))
        steady = level > 0 and (high - low) / 2 <= 0.15 * level
    raw = level / factor
    if steady:
        fits = _fitting(raw)
        if fits:
            size = raw * UNITS["acc"][fits[0]] / GRAVITY
            return f"the numbers look like {fits[0]}: gravity is then {size:.3g} g. Declare that unit"
        counts = raw / abs(scale)  # in the numbers of the file, to which a scale is declared
        bare = _fitting(counts)
        if bare:
            return f"the numbers of the file look like {bare[0]} already: declare that unit, without a scale"
        if counts >= _COUNTS:
            power = 2 ** round(math.log2(counts))
            near = f" (probably {power} counts per g)" if abs(counts / power - 1) < 0.08 else ""
            return (
                f"gravity measures {counts:.6g} in the numbers of the file: raw counts{near}; "
                f"declare unit g with the scale {math.copysign(1 / counts, scale):.6g}{declared}"
            )
    return (
        "the data does not determine the unit: its mean is not 1 g in m/s^2, g or mg. Look the unit up; "
        "`gravity: removed` if it is linear acceleration"
    )


def _other_units(median: float, unit: str) -> str:
    """Hint for a linear acceleration that is too large: the units in which it would not be."""
    raw = median / UNITS["acc"][unit]
    fits = [f"{u} ({raw * f:.2g} g)" for u, f in UNITS["acc"].items() if 0.002 <= raw * f <= _LINEAR_G]
    if not fits:
        return "look the unit up: the values are implausible in m/s^2, g and mg; raw counts need a scale"
    return f"the data does not determine the unit without gravity; plausible are {', '.join(fits)}: look it up"


def _check_rate_of_turn(gyr: np.ndarray, source: str, unit: str, turn: TurnEvidence | None, declared: float) -> None:
    sure = turn is not None and turn.correlation >= _TURNS[0] and turn.turned >= _TURNS[1]
    if turn is not None and sure and not _FACTOR[0] <= turn.factor <= _FACTOR[1]:
        # Turns per unit of the file's numbers, and the unit that gives them.
        scale = turn.factor * UNITS["gyr"][unit]
        fits = [u for u, f in UNITS["gyr"].items() if _FACTOR[0] <= scale / f <= _FACTOR[1]]
        counts = scale * declared / UNITS["gyr"]["deg/s"]
        raise RecordingError(
            f"{source}: angular rate read as {unit} is {1 / turn.factor:.3g} times the rate at which gravity rotates",
            hint=f"the numbers look like {fits[0]}: they then agree with the rotation of gravity. Declare that unit"
            if fits
            else f"the numbers are neither rad/s nor deg/s, probably raw counts: declare unit deg/s with the scale of "
            f"the data sheet, about {counts:.2g}" + (f" in place of {declared:.2g}" if declared != 1.0 else ""),
        )
    # The quick test on the maximum settles almost every stream and is False where a NaN is in the row; only then are
    # the finite values sorted for a quantile.
    if all(np.abs(row).max(initial=0.0) <= _FASTEST for row in gyr):
        return
    rate = np.abs(gyr)
    rate = rate[np.isfinite(rate)]
    if not len(rate) or (high := float(np.quantile(rate, 0.999))) <= _FASTEST:
        return
    seen = f"{source}: angular rate reaches {high:.3g} rad/s when read as {unit}, expected below 60 rad/s"
    if sure:
        raise RecordingError(
            seen, hint="the unit agrees with the rotation of gravity: single values are wrong, inspect or remove them"
        )
    other = high / UNITS["gyr"][unit] * UNITS["gyr"]["deg/s"]
    raise RecordingError(
        seen,
        hint="the data does not determine the unit, because gravity rotates too little: "
        + (
            f"as deg/s it would reach {other:.3g} rad/s, which is plausible, but raw counts may be as large. Look it up"
            if other <= _FASTEST and unit != "deg/s"
            else "probably raw counts. Look up the unit and the scale"
        ),
    )
