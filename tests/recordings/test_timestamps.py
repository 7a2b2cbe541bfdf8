"""Repaired time stamps against the true ones, for every fault that loggers are known for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.errors import RecordingError
from imu_video.recordings.timestamps import MAX_MOVE_S, repair_times

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
    with pytest.raises(RecordingError, match=r"the clock goes back 1 time\n.*repair_within_s: 16"):
        repair_times(back)
    repaired, report = repair_times(back, max_move_s=16)  # the hint, obeyed
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


def test_whole_seconds_hold_their_samples() -> None:
    """Samples of second k lie in k .. k + 1, whether the rate divides the second or not, and after a loss."""
    for rate in (30.0, 29.7, 102.4):
        times = 1.711e9 + 0.4 * (rate != 30.0) + np.arange(int(40 * rate)) / rate
        repaired, report = repair_times(np.floor(times))
        assert np.all((repaired >= np.floor(times)) & (repaired < np.floor(times) + 1))
        assert np.abs(repaired - times).max() < 0.2 / rate
        assert (report.model, report.tick_s, report.lost, report.excess_s) == ("ticks", 1.0, 0, 0.0)
    kept = np.ones(len(times), dtype=bool)
    kept[1000:1010] = False
    repaired, report = repair_times(np.floor(times[kept]))
    assert np.all(np.floor(repaired) == np.floor(times[kept]))


def test_packets_longer_than_a_second_become_even() -> None:
    """64 samples of 50 Hz in 1.28 s, stamped 2 ms apart when a packet arrives."""
    stamps = np.arange(512) // 64 * 1.28 + np.arange(512) % 64 * 0.002
    repaired, report = repair_times(stamps)
    np.testing.assert_allclose(np.diff(repaired), 0.02, atol=1e-6)
    assert repaired[63] == pytest.approx(0.0, abs=1e-6)
    assert (report.model, report.batch_samples) == ("packets", 64)
    assert report.moved_s == pytest.approx(1.26, abs=1e-6)
    assert report.excess_s == 0.0


def test_delays_that_are_never_negative_leave_no_bias() -> None:
    rng = np.random.default_rng(3)
    times = np.arange(15_000) / 50.0
    arrived = times[24::25] + rng.exponential(0.01, 600)
    repaired, report = repair_times(np.repeat(arrived, 25))
    assert report.delays == "one-sided"
    assert np.abs(repaired - times).max() < 2e-3


def test_no_stamp_is_moved_further_than_the_bound() -> None:
    stamps = TRUE.copy()
    stamps[1000:1050] += 2.5  # fifty stamps 2.5 s late: too many for glitches, and no batch
    with pytest.raises(RecordingError, match=r"would move the time of sample \d+ by 2\.5.* s.*\n.*repair_within_s: 3"):
        repair_times(stamps)
    repaired, report = repair_times(stamps, max_move_s=3.0)  # the hint, obeyed
    assert np.all(np.diff(repaired) > 0)
    assert 1.0 < report.excess_s <= 3.0


def test_the_report_is_plain() -> None:
    plain = repair_times(np.floor(TRUE))[1].plain()
    assert plain["model"] == "ticks"
    assert plain["period_s"] == 0.02
    assert all(isinstance(value, (int, float, str)) for value in plain.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=2, max_size=60))
def test_whatever_comes_in_increasing_times_come_out(stamps: list[float]) -> None:
    if np.all(np.diff(stamps) <= 0):
        with pytest.raises(RecordingError, match="never advance"):
            repair_times(np.array(stamps))
        return
    repaired, report = repair_times(np.array(stamps), max_move_s=1e9)
    assert np.all(np.diff(repaired) > 0)
    assert report.samples == len(stamps)
    if report.excess_s > MAX_MOVE_S:
        with pytest.raises(RecordingError, match="expected at most 1 s"):
            repair_times(np.array(stamps))
