"""Cleaning of captured motion: rest poses and glitches by speed, the low-pass, gaps."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.simulation.capture import cut, outside, smoothed, spans, too_fast
from imu_video.simulation.mocap import Take
from imu_video.types import ImuStream

RATE = 120.0


def take(track: np.ndarray) -> Take:
    return Take(
        joints={"pelvis": track}, bones={"pelvis": np.repeat(np.eye(3)[:, :, None], track.shape[1], 2)}, rate_hz=RATE
    )


def test_a_jump_of_any_joint_is_too_fast() -> None:
    still = np.zeros((2, 3, 100))
    assert not too_fast(still, RATE).any()
    still[1, 2, 40] = 0.2  # 24 m/s there and back
    assert np.flatnonzero(too_fast(still, RATE)).tolist() == [39, 40]
    assert not too_fast(still, RATE, limit_m_s=25.0).any()
    assert not too_fast(still, RATE / 2).any(), "the same step in twice the time"


def test_the_low_pass_keeps_motion_and_removes_noise() -> None:
    times = np.arange(600) / RATE
    slow = 0.3 * np.sin(2 * np.pi * 1.0 * times)
    noise = np.random.default_rng(0).normal(0, 3e-4, 600)  # 0.3 mm
    line = 2.0 * times  # walking straight ahead
    out = smoothed(take(np.stack([slow + noise, line, 0 * times])), 8.0)
    found = out.joints["pelvis"]
    np.testing.assert_allclose(found[0], slow, atol=4e-3)
    np.testing.assert_allclose(found[1], line, atol=1e-9, err_msg="no bend at the ends")
    second = np.diff(found[0], 2)[60:-60] * RATE**2
    true = np.diff(slow, 2)[60:-60] * RATE**2
    raw = np.diff(slow + noise, 2)[60:-60] * RATE**2
    assert np.sqrt(np.mean((raw - true) ** 2)) > 8
    assert np.sqrt(np.mean((second - true) ** 2)) < 0.5
    np.testing.assert_allclose(out.bones["pelvis"][:, :, 300], np.eye(3), atol=1e-12)


def test_the_cut_off_is_where_power_is_halved() -> None:
    times = np.arange(1200) / RATE
    wave = np.sin(2 * np.pi * 8.0 * times)
    out = smoothed(take(np.stack([wave] * 3)), 8.0).joints["pelvis"][0, 100:-100]
    assert np.std(out) / np.std(wave) == pytest.approx(np.sqrt(0.5), rel=5e-3)
    with pytest.raises(RecordingError, match="smooth_hz 60, expected above 0 and below half of the 120 frames"):
        smoothed(take(np.zeros((3, 50))), 60.0)


def test_glitches_become_one_gap_where_their_margins_meet() -> None:
    steps = np.zeros(600, dtype=bool)
    steps[[0, 200, 215, 599]] = True
    found = spans(steps, 100.0, margin_s=0.1)
    np.testing.assert_allclose(found, [(-0.1, 0.11), (1.9, 2.26), (5.89, 6.1)])
    assert spans(np.zeros(5, dtype=bool), 100.0) == []


def test_devices_and_skeleton_have_the_gap() -> None:
    times = np.arange(100) / 50
    device = ImuStream(placement="waist", times=times, values=np.tile(times, (6, 1)))
    track = SkeletonTrack(times=times[::2], joints=np.zeros((50, 1, 3)), names=("pelvis",))
    (kept,), shown = cut([device], track, [(0.5, 1.0)])
    assert not ((kept.times >= 0.5) & (kept.times <= 1.0)).any()
    assert np.array_equal(kept.values[0], kept.times)
    assert len(kept.times) == 100 - 26
    assert np.array_equal(shown.times, track.times[outside(track.times, [(0.5, 1.0)])])
    with pytest.raises(RecordingError, match="nothing is left outside the glitches"):
        cut([device], track, [(-1.0, 3.0)])
