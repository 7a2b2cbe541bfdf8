"""Accelerometer gain and bias from segments in which a device was at rest; axes and mounting are not estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from imu_video.errors import RecordingError
from imu_video.types import GRAVITY

_NOISE = 0.02  # g: typical deviation from 1 g of the norm of a still segment in a calibrated sensor
_GAIN_PRIOR = 0.1  # standard deviation of an axis' gain about the sensor's common gain, relative
_BIAS_PRIOR = 0.1  # standard deviation of an axis' bias, in g


@dataclass(frozen=True, kw_only=True, eq=False)
class AccCalibration:
    """Gain and bias of one accelerometer: ``calibrated = gain * (raw - bias)``.

    Args:
        gain: (3,) m/s^2 per raw unit.
        bias: (3,) raw units.
        stretches: number of still segments behind the estimate; 0 if none was found and the nominal gain is used.
    """

    gain: np.ndarray
    bias: np.ndarray
    stretches: int

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """(3, T) raw units to (3, T) m/s^2."""
        return np.asarray((raw - self.bias[:, None]) * self.gain[:, None])


def still_means(acc: np.ndarray, *, samples: int, max_std: float) -> np.ndarray:
    """Mean acceleration of each segment without movement.

    Args:
        acc: (3, T) in any unit.
        samples: length of a segment, about half a second.
        max_std: largest standard deviation of any axis that counts as still, in the unit of ``acc``; about 0.03 g.

    Returns:
        (N, 3), one row per still segment; segments do not overlap, and those with a missing sample are skipped.

    Raises:
        RecordingError: values that are not (3, T), or segments of fewer than two samples.

    Example:
        >>> acc = np.concatenate([np.zeros((3, 20)), np.tile([1.0, -1.0], (3, 10))], axis=1)
        >>> still_means(acc, samples=10, max_std=0.1).shape
        (2, 3)
    """
    if acc.ndim != 2 or len(acc) != 3 or samples < 2:
        raise RecordingError(
            f"acceleration {acc.shape} in segments of {samples} samples, expected (3, T) and samples >= 2"
        )
    count = acc.shape[1] // samples
    pieces = acc[:, : count * samples].reshape(3, count, samples)
    still = np.all(pieces.std(axis=2) <= max_std, axis=0)  # a NaN compares false, which skips segments with a gap
    return np.asarray(pieces[:, still].mean(axis=2).T)


def fit_gravity(means: np.ndarray, *, nominal_gain: float = GRAVITY) -> AccCalibration:
    """Gain and bias per axis with which every still segment measures 1 g.

    With still means m_n in raw units, common gain s = 1 / median |m_n| and unknown relative gains d and biases b, it
    minimises (with a soft L1 loss, robust to segments that are not really at rest)

        sum_n ((|s (1 + d) (m_n - b)| - 1) / 0.02)^2 + |d / 0.1|^2 + |s b / 0.1|^2.

    Orientations that never occurred leave directions undetermined; for these the last two terms keep the estimate at
    the common gain without bias, so that few segments, or always the same posture, give a plain scale. The model is the
    usual one of in-field calibration (for example Lotters et al., Sensors and Actuators A 68, 1998).

    Args:
        means: (N, 3) raw units, as from `still_means`; of one device during one wearing.
        nominal_gain: m/s^2 per raw unit, used without any still segment.

    Returns:
        The calibration to m/s^2.

    Raises:
        RecordingError: means of another shape, not finite, or all zero (a dead sensor).

    Example:
        >>> axes = np.concatenate([np.eye(3), -np.eye(3)])
        >>> fit_gravity(axes / 1.25).gain.round(3).tolist()
        [12.258, 12.258, 12.258]
    """
    if means.ndim != 2 or means.shape[1] != 3 or not np.all(np.isfinite(means)):
        raise RecordingError(f"still means have shape {means.shape}, expected (N, 3) of finite numbers")
    if len(means) == 0:
        return AccCalibration(gain=np.full(3, nominal_gain), bias=np.zeros(3), stretches=0)
    norm = float(np.median(np.linalg.norm(means, axis=1)))
    if not norm > 0:
        raise RecordingError("every still segment measures 0, expected gravity: the accelerometer is dead")
    unit = means / norm

    def residuals(x: np.ndarray) -> np.ndarray:
        fitted = np.linalg.norm((1 + x[:3]) * (unit - x[3:]), axis=1)
        return np.concatenate([(fitted - 1) / _NOISE, x[:3] / _GAIN_PRIOR, x[3:] / _BIAS_PRIOR])

    found = least_squares(residuals, np.zeros(6), loss="soft_l1", f_scale=2.0).x
    return AccCalibration(gain=(1 + found[:3]) * GRAVITY / norm, bias=found[3:] * norm, stretches=len(means))
