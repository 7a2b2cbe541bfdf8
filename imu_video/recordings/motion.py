"""Motion of IMU streams over time, and curves of motion on a grid for sync.py; modalities define their own curves."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from imu_video.modalities.base import Curve
from imu_video.types import GRAVITY, ImuStream


def imu_motion(stream: ImuStream) -> Curve | None:
    """Magnitude of the angular rate in rad/s; without gyroscope how far the acceleration's norm is from gravity.

    Returns:
        The curve, or None where fewer than 16 samples have all three axes.
    """
    for kind in ("gyr", "acc"):
        rows = [i for i, channel in enumerate(stream.channels) if channel.startswith(kind)]
        known = np.isfinite(stream.values[rows]).all(axis=0) if len(rows) == 3 else np.zeros(len(stream.times), bool)
        if np.count_nonzero(known) >= 16:
            size = np.linalg.norm(stream.values[rows][:, known], axis=0)
            times = stream.times[known]
            breaks = max(0.1, 3 * float(np.median(np.diff(times))))
            return Curve(times=times, values=size if kind == "gyr" else np.abs(size - GRAVITY), breaks=breaks)
    return None


def on_grid(curve: Curve, start: float, samples: int, rate_hz: float, *, slow_s: float, fast_s: float) -> np.ndarray:
    """The curve on a regular grid for correlation: its square root, band-passed by the difference of two Gaussians.

    The square root keeps a single strong movement from dominating the correlation.

    Args:
        curve: motion over time.
        start: seconds of the first grid point.
        samples: grid points.
        rate_hz: grid rate.
        slow_s: standard deviation in seconds of the Gaussian that is subtracted; slower changes are removed.
        fast_s: standard deviation in seconds of the Gaussian that smooths; faster changes are removed.

    Returns:
        (samples,) float64, NaN where the curve is unknown.
    """
    grid = start + np.arange(samples) / rate_hz
    if len(curve.times) < 2:
        return np.full(samples, np.nan)
    step = 1 / rate_hz
    # Means over a grid step, from the integral of the curve: a sensor faster than the grid is averaged rather than
    # sampled, which would alias its noise.
    integral = np.concatenate([[0.0], np.cumsum(np.diff(curve.times) * (curve.values[1:] + curve.values[:-1]) / 2)])
    low, high = np.clip(grid - step / 2, *curve.times[[0, -1]]), np.clip(grid + step / 2, *curve.times[[0, -1]])
    width = np.maximum(high - low, 1e-9)
    x = (np.interp(high, curve.times, integral) - np.interp(low, curve.times, integral)) / width
    right = np.clip(np.searchsorted(curve.times, grid), 1, len(curve.times) - 1)
    known = (curve.times[right] - curve.times[right - 1] <= curve.breaks) & (high > low)
    x = np.sqrt(np.maximum(np.where(known, x, 0.0), 0.0))
    out = _blur(x, known, fast_s * rate_hz) - _blur(x, known, slow_s * rate_hz)
    out[~known] = np.nan
    return out


def _blur(x: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean over the known neighbours."""
    weight = gaussian_filter1d(known.astype(np.float64), sigma, mode="constant")
    return np.asarray(gaussian_filter1d(np.where(known, x, 0.0), sigma, mode="constant") / np.maximum(weight, 1e-9))
