"""Motion curves of IMU streams and their grid against rates and gaps that are known."""

from __future__ import annotations

import numpy as np

from imu_video.recordings.motion import imu_motion, on_grid
from imu_video.types import GRAVITY, ImuStream


def test_imu_motion_prefers_the_gyroscope() -> None:
    times = np.arange(100) / 50
    values = np.zeros((6, 100))
    values[2] = GRAVITY + 1.5
    values[3], values[4] = 3.0, 4.0
    curve = imu_motion(ImuStream(placement="waist", times=times, values=values))
    assert curve is not None
    np.testing.assert_allclose(curve.values, 5.0)
    values[3:] = np.nan
    curve = imu_motion(ImuStream(placement="waist", times=times, values=values))
    assert curve is not None
    np.testing.assert_allclose(curve.values, 1.5)
    values[:] = np.nan
    assert imu_motion(ImuStream(placement="waist", times=times, values=values)) is None


def test_the_grid_knows_what_it_does_not_know() -> None:
    times = np.concatenate([np.arange(0, 4, 0.02), np.arange(6, 10, 0.02)])
    stream = ImuStream(placement="w", times=times, values=np.random.default_rng(0).normal(size=(6, len(times))))
    curve = imu_motion(stream)
    assert curve is not None
    got = on_grid(curve, -1.0, 1200, 100.0, slow_s=1.0, fast_s=0.04)
    grid = -1.0 + np.arange(1200) / 100
    known = ((grid > 0) & (grid < 3.97)) | ((grid > 6.01) & (grid < 9.97))
    unknown = (grid < -0.01) | ((grid > 4.01) & (grid < 5.97)) | (grid > 10.01)
    assert np.isfinite(got[known]).all()
    assert np.isnan(got[unknown]).all()
