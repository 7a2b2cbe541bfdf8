"""Repaired time stamps against the true ones, for every fault that loggers are known for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.errors import RecordingError
from imu_video.recordings.timestamps import repair_times

TRUE = np.arange(3000) / 50.0


def test_clean_stamps_stay() -> None:
    repaired, report = repair_times(TRUE)
    np.testing.assert_allclose(repaired, TRUE, atol=1e-9)
    assert report.clean
    assert report.moved_s < 1e-9
    assert report.period_s == pytest.approx(0.02)


def test_slow_drift_of_the_rate_is_no_fault() -> None:
    drifting = TRUE + 2e-4 * TRUE**2
    repaired, report = repair_times(drifting)
    assert report.clean
    assert np.abs(repaired - drifting).max() < 1e-3


def test_jitter_becomes_regular() -> None:
    rng = np.random.default_rng(0)
    stamps = TRUE + rng.normal(0, 0.004, len(TRUE))
    repaired, report = repair_times(stamps)
    assert np.abs(repaired - TRUE).max() < 0.01
    assert np.diff(repaired).std() < 0.2 * np.diff(stamps).std()
    assert report.jitter_s == pytest.approx(0.004, rel=0.1)


def test_bunches_under_one_stamp_are_spread_before_it() -> None:
    stamps = np.repeat(TRUE[9::10], 10)  # radio packets of ten, stamped when they were complete
    repaired, report = repair_times(stamps)
    assert report.duplicates == len(TRUE) - len(TRUE) // 10
    assert np.abs(repaired - TRUE).max() < 2e-3


def test_single_wrong_stamps() -> None:
    stamps = TRUE.copy()
    stamps[100], stamps[300] = 7000.0, -50.0
    stamps[400:402] += 3
    repaired, report = repair_times(stamps)
    np.testing.assert_allclose(repaired, TRUE, atol=1e-6)
    assert (report.glitches, report.jumps, report.resets) == (4, 0, 0)


def test_a_jump_forwards_is_a_gap_and_a_reset_is_closed() -> None:
    ahead = TRUE + 30.0 * (TRUE >= 20)
    repaired, report = repair_times(ahead)
    np.testing.assert_allclose(repaired, ahead, atol=1e-6)
    assert (report.jumps, report.resets) == (1, 0)
    back = TRUE - 15.0 * (TRUE >= 20)
    repaired, report = repair_times(back)
    np.testing.assert_allclose(repaired, TRUE, atol=1e-6)
    assert (report.jumps, report.resets, report.backwards) == (0, 1, 1)


def test_a_counter_that_wraps() -> None:
    wrap = 2**32 / 1e6
    repaired, report = repair_times((TRUE + wrap - 7.0) % wrap, wrap_s=wrap)
    np.testing.assert_allclose(repaired, TRUE + wrap - 7.0, atol=1e-6)
    assert (report.wraps, report.resets, report.backwards) == (1, 0, 0)


def test_lost_samples_leave_a_gap() -> None:
    keep = np.ones(len(TRUE), bool)
    keep[1000:1010] = False
    repaired, _ = repair_times(TRUE[keep])
    assert np.abs(repaired - TRUE[keep]).max() < 5e-3
    assert np.diff(repaired).max() > 0.2


def test_stamps_that_are_no_numbers() -> None:
    stamps = TRUE.copy()
    stamps[[50, 51, 700]] = [np.nan, np.inf, np.nan]
    repaired, report = repair_times(stamps)
    np.testing.assert_allclose(repaired, TRUE, atol=1e-6)
    assert report.non_finite == 3
    with pytest.raises(RecordingError, match="1 of 3 time stamps"):
        repair_times(np.array([0.0, np.nan, np.inf]))
    with pytest.raises(RecordingError, match="never advance"):
        repair_times(np.zeros(10))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=2, max_size=60))
def test_whatever_comes_in_increasing_times_come_out(stamps: list[float]) -> None:
    try:
        repaired, report = repair_times(np.array(stamps))
    except RecordingError:
        assert np.all(np.diff(stamps) <= 0)
        return
    assert np.all(np.diff(repaired) > 0)
    assert report.samples == len(stamps)
