"""Arrival times to sample times: backlogs are spread out, losses stay, nothing is later than it arrived."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imu_video.errors import RecordingError
from imu_video.recordings.clock import sample_times


def naive(arrived: list[float], period: float) -> list[float]:
    """The definition, sample by sample."""
    return [min(arrived[j] - (j - i) * period for j in range(i, len(arrived))) for i in range(len(arrived))]


@given(st.lists(st.floats(0, 0.2), min_size=2, max_size=40))
def test_equals_the_definition_and_keeps_its_bounds(steps: list[float]) -> None:
    arrived = np.cumsum(steps)
    taken = sample_times(arrived, rate_hz=20, tolerance=0.05)
    np.testing.assert_allclose(taken, naive(arrived.tolist(), 0.95 / 20), atol=1e-9)
    assert np.all(np.diff(taken) >= 0.95 / 20 - 1e-9)
    assert np.all(taken <= arrived + 1e-12)


def test_a_regular_clock_behind_a_bursty_link_is_recovered_and_a_loss_stays_a_gap() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(600) / 20.3
    true[300:] += 0.9  # 18 samples lost
    arrived = np.maximum.accumulate(true + 0.02 + rng.exponential(0.01, 600))
    for first in range(20, 560, 37):  # the link stalls and then delivers five at once
        arrived[first : first + 5] = arrived[first + 5]
    taken = sample_times(arrived, rate_hz=20)
    error = taken - true
    error -= np.median(error)
    stamped = arrived - true
    stamped -= np.median(stamped)
    assert np.abs(error).max() < 0.03 < 0.15 < np.abs(stamped).max()
    assert taken[300] - taken[299] == pytest.approx(0.9 + 1 / 20.3, abs=0.02)
    assert np.delete(np.diff(taken), 299).max() < 0.075


def test_refusals() -> None:
    with pytest.raises(RecordingError, match="run backwards or are missing at sample 2"):
        sample_times(np.array([0.0, 1.0, 0.5]), rate_hz=1)
    with pytest.raises(RecordingError, match="run backwards or are missing at sample 1"):
        sample_times(np.array([0.0, np.nan, 0.5]), rate_hz=1)
    with pytest.raises(RecordingError, match="at 0 Hz"):
        sample_times(np.array([0.0, 1.0]), rate_hz=0)
