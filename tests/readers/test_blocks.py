"""Times of samples from the time stamps of their blocks."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.readers.blocks import block_times


def test_a_crystal_that_runs_off_the_nominal_rate_is_followed() -> None:
    rate = 50 * 1.02
    starts = 100.0 + np.arange(20) * 40 / rate
    found = block_times(starts, np.full(20, 40), rate_hz=50, source="f")
    np.testing.assert_allclose(found.times, 100.0 + np.arange(800) / rate, atol=1e-9)
    assert (found.gaps, found.dropped) == (0, 0)


def test_coarse_stamps_do_not_change_the_rate() -> None:
    truth = 1000.0 + np.arange(30 * 300) / 50 * 1.0001
    starts = np.floor(truth[::300] * 2) / 2  # half seconds, cut off
    found = block_times(starts, np.full(30, 300), rate_hz=50, source="f", resolution_s=0.5)
    assert np.ptp(np.diff(found.times)) < 1e-4
    np.testing.assert_allclose(found.times, truth, atol=0.5)


def test_a_gap_keeps_its_length_with_coarse_stamps() -> None:
    starts = np.array([0.0, 6.0, 12.5, 18.0, 60.0, 66.0])
    found = block_times(starts, np.full(6, 300), rate_hz=50, source="f", resolution_s=0.5)
    assert found.gaps == 1
    assert found.gap_s == pytest.approx(36.0, abs=0.5)


def test_one_stamp_in_the_far_future_costs_one_block() -> None:
    starts = np.arange(10.0)
    starts[3] = 1e6
    found = block_times(starts, np.full(10, 50), rate_hz=50, source="f")
    assert found.kept.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert (found.dropped, found.gaps) == (1, 1)


def test_a_clock_that_was_set_back_is_refused() -> None:
    starts = np.concatenate([np.arange(10.0), np.arange(10.0), np.arange(10.0)])
    with pytest.raises(RecordingError, match="runs backwards; only 10 of 30"):
        block_times(starts, np.full(30, 50), rate_hz=50, source="f")
