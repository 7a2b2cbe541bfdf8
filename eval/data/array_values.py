"""Checks of the values of labelled arrays: finite, not constant, and plausible where the unit is known."""

from __future__ import annotations

import numpy as np

from eval.data.array_declaration import DECLARATION, ArrayDeclaration
from imu_video.channels import sensor_of, triads
from imu_video.errors import DataError
from imu_video.types import GRAVITY

CHUNK = 1 << 22
"""Values that are checked at a time."""
LARGEST = 1e6
"""Largest magnitude of a value, whatever its unit; encoders compute with float32."""
PEAKS = {
    "m/s^2": 1e4,
    "g": 1e3,
    "rad/s": 500.0,
    "deg/s": 3e4,
    "uT": 1e4,
    "mV": 1e3,
    "V": 1e3,
    "degC": 100.0,
    "bpm": 400.0,
}
"""Largest plausible magnitude of a value by unit, several times what wearable sensors can measure."""
SAMPLE = 500
"""Windows of which the length of the gravity vector is computed, evenly over the array."""


def check_values(x: np.ndarray, declared: ArrayDeclaration, *, source: str) -> None:
    """Check every value of (N, C, T) windows; at most `CHUNK` values are in memory.

    Raises:
        DataError: values that are infinite or beyond their unit, NaN that is not declared, a window without a
            measurement, a sensor that is constant, or accelerations whose length is not near that of gravity.
    """
    names = list(declared.channels)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    step = max(1, CHUNK // max(1, x[0].size))
    for first in range(0, len(x), step):
        piece = x[first : first + step]
        if piece.dtype.kind == "f":
            _check_finite(piece, first, names, declared, source)
            with np.errstate(all="ignore"):
                low, high = (
                    np.fmin(low, np.fmin.reduce(piece, axis=(0, 2))),
                    np.fmax(high, np.fmax.reduce(piece, axis=(0, 2))),
                )
        else:
            low, high = np.minimum(low, piece.min(axis=(0, 2))), np.maximum(high, piece.max(axis=(0, 2)))
    for name, unit, smallest, largest in zip(names, declared.channels.values(), low, high, strict=True):
        peak, most = max(abs(smallest), abs(largest)), PEAKS.get(unit, LARGEST)
        if np.isfinite(peak) and peak > most:
            raise DataError(
                f"{source}: channel {name!r} reaches {peak:.4g}, expected at most {most:g} in {unit!r}",
                hint=f"correct its unit in {DECLARATION} (`1` where it is unknown), or convert the values",
            )
    moves: dict[str, list[bool]] = {}
    for name, smallest, largest in zip(names, low, high, strict=True):
        moves.setdefault(sensor_of(name), []).append(not largest <= smallest)
    for sensor, moving in moves.items():
        if not any(moving):
            raise DataError(
                f"{source}: sensor {sensor!r} is constant over all windows",
                hint="correct the order of `channels`, or leave the sensor out of the array",
            )
    _check_gravity(x, declared, source)


def _check_finite(piece: np.ndarray, first: int, names: list[str], declared: ArrayDeclaration, source: str) -> None:
    finite = np.isfinite(piece)
    if finite.all():
        return
    wrong = np.isinf(piece) if declared.missing else ~finite
    if wrong.any():
        n, c, t = np.argwhere(wrong)[0].tolist()
        raise DataError(
            f"{source}: window {first + n}, channel {names[c]!r}, sample {t} is {piece[n, c, t]}, expected a finite "
            "number",
            hint=f"if NaN marks missing samples, set `missing: true` in {DECLARATION}",
        )
    empty = np.flatnonzero(~finite.any(axis=(1, 2)))
    if len(empty):
        raise DataError(f"{source}: window {first + empty[0]} has no measured sample", hint="leave these windows out")


def _check_gravity(x: np.ndarray, declared: ArrayDeclaration, source: str) -> None:
    """The median length of an acceleration that includes gravity is near that of gravity."""
    if declared.normalised != "none" or declared.gravity != "included":
        return
    units = list(declared.channels.values())
    some = x[np.unique(np.linspace(0, len(x) - 1, min(SAMPLE, len(x))).astype(int))]
    for sensor, rows in triads(list(declared.channels)).items():
        expected = {"m/s^2": GRAVITY, "g": 1.0}.get(units[rows[0]])
        if expected is None or len({units[row] for row in rows}) > 1 or not sensor.endswith("acc"):
            continue
        length = np.sqrt((some[:, list(rows)].astype(np.float64) ** 2).sum(axis=1))
        median = float(np.median(length[np.isfinite(length)])) if np.isfinite(length).any() else expected
        if not 0.4 * expected < median < 4 * expected:
            raise DataError(
                f"{source}: the median length of {sensor!r} is {median:.3g} {units[rows[0]]}; with gravity it would "
                f"be near {expected:.3g}",
                hint=f"correct the unit, the order of `channels`, or `gravity` in {DECLARATION}",
            )
