"""Median, gaps and standardising against loops written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import medfilt

from imu_video.errors import RecordingError
from imu_video.recordings.conditioning import fill_gaps, median_filter, standardise


def naive_median(values: np.ndarray, width: int) -> np.ndarray:
    out = np.full_like(values, np.nan)
    for c in range(values.shape[0]):
        for t in range(values.shape[1]):
            if np.isfinite(values[c, t]):
                near = values[c, max(0, t - width // 2) : t + width // 2 + 1]
                out[c, t] = np.median(near[np.isfinite(near)])
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 3, 5, 9]), st.integers(1, 30))
def test_median_is_the_median(seed: int, width: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, length)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    np.testing.assert_allclose(median_filter(values, width), naive_median(values, width), rtol=1e-6)


def test_median_agrees_with_scipy_inside_and_removes_spikes() -> None:
    values = np.random.default_rng(0).normal(size=(6, 200))
    inside = slice(2, -2)
    np.testing.assert_allclose(median_filter(values)[:, inside], np.stack([medfilt(v, 5) for v in values])[:, inside])
    spiked = np.zeros((1, 50))
    spiked[0, [10, 30, 31]] = 99
    assert not median_filter(spiked).any()


def test_wrong_axes_are_refused() -> None:
    """The released code of the method filtered (T, C) arrays across channels : here that is an error."""
    for call in (median_filter, standardise, lambda x: fill_gaps(x, 3)):
        with pytest.raises(RecordingError, match="channels first"):
            call(np.zeros((250, 6)))
        with pytest.raises(RecordingError, match="channels first"):
            call(np.zeros(6))
    with pytest.raises(RecordingError, match="odd"):
        median_filter(np.zeros((6, 50)), 4)


def test_short_gaps_are_filled_and_marked() -> None:
    nan = np.nan
    values = np.array([[nan, 0.0, nan, nan, 3.0, nan, nan, nan, 7.0, nan], [1.0] * 10])
    filled, marks = fill_gaps(values, 2)
    np.testing.assert_allclose(filled[0], [nan, 0, 1, 2, 3, nan, nan, nan, 7, nan])
    np.testing.assert_array_equal(np.flatnonzero(marks[0]), [2, 3])
    assert not marks[1].any()
    np.testing.assert_array_equal(fill_gaps(values, 0)[0], values)
    np.testing.assert_allclose(fill_gaps(values, 3)[0][0], [nan, 0, 1, 2, 3, 4, 5, 6, 7, nan])
    with pytest.raises(RecordingError, match="0 or more"):
        fill_gaps(values, -1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 6))
def test_filling_touches_nothing_else(seed: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 40))
    values[rng.random(values.shape) < 0.4] = np.nan
    filled, marks = fill_gaps(values, longest)
    np.testing.assert_array_equal(filled[~marks], values[~marks])
    assert np.isfinite(filled[marks]).all()
    assert np.isnan(values[marks]).all()
    for row in marks:  # no run of made-up samples is longer than allowed
        runs = "".join("x" if m else " " for m in row).split()
        assert all(len(run) <= longest for run in runs)


def test_standardise_can_be_undone() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(3, 5, (6, 400)).astype(np.float32)
    values[2] = 4.0  # never changes
    values[3] = np.nan  # never measured
    values[0, :50] = np.nan
    out, mean, std = standardise(values)
    for c in (0, 1, 4, 5):
        known = values[c][np.isfinite(values[c])].astype(np.float64)
        assert (mean[c], std[c]) == (pytest.approx(known.mean()), pytest.approx(known.std()))
        assert np.nanmean(out[c]) == pytest.approx(0, abs=1e-5)
        assert np.nanstd(out[c]) == pytest.approx(1, abs=1e-5)
    assert not out[2].any()
    assert (mean[3], std[3]) == (0, 1)
    np.testing.assert_allclose(out * std[:, None] + mean[:, None], values, rtol=1e-4, atol=1e-5)
