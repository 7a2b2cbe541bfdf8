"""Gravity against a simulated sensor whose attitude is known, and the built-in estimate against VQF."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings import gravity
from imu_video.recordings.gravity import align_gravity, gravity_vector, remove_gravity
from imu_video.types import GRAVITY

RATE = 50.0


class Tumbling:
    """A minute of a sensor that turns by up to 200 deg/s while it is shaken with 1.4 m/s^2 RMS."""

    def __init__(self, seconds: int = 60, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        count = int(seconds * RATE)
        self.rate = gaussian_filter1d(rng.normal(size=(count, 3)), 25, axis=0) * 10
        turns = Rotation.from_rotvec((self.rate[1:] + self.rate[:-1]) / 2 / RATE)
        attitude = [Rotation.from_rotvec([0.5, 0.8, 0.1])]
        for turn in turns:
            attitude.append(attitude[-1] * turn)
        self.attitude = Rotation.concatenate(attitude)
        self.linear = gaussian_filter1d(rng.normal(size=(count, 3)), 5, axis=0) * 6  # in the world's axes
        self.gravity = self.attitude.inv().apply([0, 0, GRAVITY]).T
        acc = self.attitude.inv().apply(self.linear + np.array([0, 0, GRAVITY]))
        self.values = np.concatenate([acc.T, self.rate.T])


@pytest.fixture(scope="module")
def tumbling() -> Tumbling:
    return Tumbling()


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine = (a * b).sum(axis=0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_integration_is_the_product_of_the_steps(tumbling: Tumbling) -> None:
    """Naive twin: scipy's rotations, multiplied one after the other."""
    got = gravity._matrices(gravity._integrate(tumbling.rate.T, RATE))
    expected = (tumbling.attitude[0].inv() * tumbling.attitude).as_matrix()
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_with_a_gyroscope_gravity_is_found_while_tumbling(tumbling: Tumbling) -> None:
    error = degrees(gravity_vector(tumbling.values, RATE), tumbling.gravity)
    assert error.mean() < 2
    assert error.max() < 8
    assert degrees(gravity_vector(tumbling.values, RATE, "low_pass"), tumbling.gravity).mean() > 5  # acc alone cannot


def test_the_fallback_is_as_good_as_vqf(tumbling: Tumbling) -> None:
    pytest.importorskip("vqf", reason="the extra vqf is not installed")
    ours = degrees(gravity_vector(tumbling.values, RATE, "complementary"), tumbling.gravity)
    theirs = degrees(gravity_vector(tumbling.values, RATE, "vqf"), tumbling.gravity)
    assert theirs.mean() < 4
    assert ours.mean() < theirs.mean() + 1
    np.testing.assert_allclose(np.linalg.norm(gravity_vector(tumbling.values, RATE, "vqf"), axis=0), GRAVITY)


def test_vqf_missing_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vqf", None)
    with pytest.raises(ConfigError, match=r"imu-video\[vqf\]"):
        gravity_vector(Tumbling(2).values, RATE, "vqf")


def test_removal_leaves_linear_acceleration(tumbling: Tumbling) -> None:
    out = remove_gravity(tumbling.values, RATE)
    np.testing.assert_array_equal(out[3:], tumbling.values[3:])
    linear = tumbling.attitude.inv().apply(tumbling.linear).T
    assert np.sqrt(np.mean((out[:3] - linear) ** 2)) < 0.3
    assert np.sqrt(np.mean(linear**2)) > 1.2


def test_acc_only_follows_slow_posture_and_keeps_fast_motion() -> None:
    times = np.arange(3000) / RATE
    tilt = np.minimum(times / 30, 1) * 1.2  # one slow bow
    motion = 2.0 * np.sin(2 * np.pi * 2.0 * times)
    values = np.full((6, len(times)), np.nan)
    values[:3] = [GRAVITY * np.sin(tilt) + motion, np.zeros_like(tilt), GRAVITY * np.cos(tilt)]
    out = remove_gravity(values, RATE)
    middle = slice(200, -200)
    assert np.abs(out[0] - motion)[middle].max() < 0.15
    assert np.abs(out[2])[middle].max() < 0.15
    with pytest.raises(RecordingError, match="needs a gyroscope"):
        remove_gravity(values, RATE, "complementary")


def test_alignment_points_up_and_keeps_size(tumbling: Tumbling) -> None:
    out = align_gravity(tumbling.values, RATE)
    for rows in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(
            np.linalg.norm(out[rows], axis=0), np.linalg.norm(tumbling.values[rows], axis=0), rtol=1e-6
        )
    # The vertical part of the shaking comes out where the world has it.
    assert out[2].mean() == pytest.approx(GRAVITY + tumbling.linear[:, 2].mean(), abs=0.05)
    assert np.sqrt(np.mean((out[2] - GRAVITY - tumbling.linear[:, 2]) ** 2)) < 0.3


def test_how_a_device_was_worn_no_longer_matters(tumbling: Tumbling) -> None:
    """Vertical parts and horizontal sizes are the same for a sensor that was mounted turned by any rotation."""
    turned = tumbling.values.copy()
    mount = Rotation.from_rotvec([1.0, -0.4, 2.0]).as_matrix()
    turned[:3], turned[3:] = mount @ turned[:3], mount @ turned[3:]
    a, b = align_gravity(tumbling.values, RATE), align_gravity(turned, RATE)
    np.testing.assert_allclose(a[2], b[2], atol=0.05)
    np.testing.assert_allclose(np.hypot(a[0], a[1]), np.hypot(b[0], b[1]), atol=0.05)
    np.testing.assert_allclose(a[5], b[5], atol=0.05)


def test_upside_down_and_without_gyroscope() -> None:
    values = np.full((6, 200), np.nan)
    values[:3] = np.array([[0.0], [0.0], [-GRAVITY]])
    np.testing.assert_allclose(align_gravity(values, RATE)[:3, 100], [0, 0, GRAVITY], atol=1e-9)
    values[:3] = np.array([[GRAVITY], [0.0], [0.0]])
    aligned = align_gravity(values, RATE)
    np.testing.assert_allclose(aligned[:3, 100], [0, 0, GRAVITY], atol=1e-9)
    assert np.isnan(aligned[3:]).all()


def test_missing_samples_stay_missing_and_disturb_nobody(tumbling: Tumbling) -> None:
    holes = tumbling.values.copy()
    holes[:, 1000:1010] = np.nan
    out = remove_gravity(holes, RATE)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(holes))
    assert degrees(gravity_vector(holes, RATE), tumbling.gravity).max() < 15
    nothing = np.full((6, 50), np.nan)
    assert np.isnan(remove_gravity(nothing, RATE)).all()
    np.testing.assert_array_equal(align_gravity(nothing, RATE), nothing)
    short = np.tile([[0.0], [0.0], [9.8], [0.0], [0.0], [0.0]], 3)
    np.testing.assert_allclose(remove_gravity(short, RATE)[:3], 0, atol=1e-9)
    with pytest.raises(RecordingError, match=r"\(6, T\)"):
        gravity_vector(np.zeros((3, 50)), RATE)
