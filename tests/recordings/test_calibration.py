"""Gravity calibration recovers a made-up sensor's gains and biases, and stays plain where the data say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.recordings.calibration import fit_gravity, still_means
from imu_video.types import GRAVITY

GAIN, BIAS = np.array([11.9, 12.6, 13.4]), np.array([0.06, -0.05, -0.08])


def raw(directions: np.ndarray, rng: np.random.Generator, noise: float = 0.003) -> np.ndarray:
    """What a sensor with GAIN (m/s^2 a unit) and BIAS (units) shows of 1 g along (N, 3) unit vectors."""
    return directions * GRAVITY / GAIN + BIAS + rng.normal(0, noise, directions.shape)


def sphere(count: int, rng: np.random.Generator) -> np.ndarray:
    v = rng.normal(size=(count, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_gain_and_bias_are_recovered_from_many_orientations() -> None:
    rng = np.random.default_rng(0)
    means = raw(sphere(200, rng), rng)
    means[::20] *= 1.3  # stretches that only looked still
    found = fit_gravity(means)
    np.testing.assert_allclose(found.gain, GAIN, rtol=0.01)
    np.testing.assert_allclose(found.bias, BIAS, atol=0.01)
    assert found.stretches == 200
    unseen = sphere(50, rng)
    norms = np.linalg.norm(found.apply(raw(unseen, rng, 0).T), axis=0)
    np.testing.assert_allclose(norms, GRAVITY, rtol=0.01)


def test_one_posture_gives_a_plain_scale() -> None:
    rng = np.random.default_rng(1)
    means = raw(np.tile([[0.0, 0.0, 1.0]], (40, 1)), rng)
    found = fit_gravity(means)
    assert np.ptp(found.gain[:2]) < 1e-3 * GRAVITY  # nothing was seen of x and y
    np.testing.assert_allclose(np.linalg.norm(found.apply(means.T), axis=0), GRAVITY, rtol=0.02)
    assert np.abs(found.bias).max() < 0.02
    none = fit_gravity(np.empty((0, 3)), nominal_gain=9.5)
    assert none.stretches == 0
    assert none.gain.tolist() == [9.5] * 3


def test_still_means_leave_movement_and_gaps_out() -> None:
    acc = np.zeros((3, 50))
    acc[2] = 1.0
    acc[0, 10:20] = np.tile([0.5, -0.5], 5)
    acc[1, 34] = np.nan
    means = still_means(acc, samples=10, max_std=0.05)
    np.testing.assert_allclose(means, np.tile([0, 0, 1.0], (3, 1)))
    assert still_means(acc[:, :9], samples=10, max_std=0.05).shape == (0, 3)


def test_refusals() -> None:
    with pytest.raises(RecordingError, match="dead"):
        fit_gravity(np.zeros((5, 3)))
    with pytest.raises(RecordingError, match=r"\(N, 3\)"):
        fit_gravity(np.zeros((3, 5, 1)))
    with pytest.raises(RecordingError, match=r"expected \(3, T\)"):
        still_means(np.zeros((50, 3)), samples=10, max_std=0.1)
