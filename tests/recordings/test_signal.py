"""Resampling against tones, direct formulas and awkward clocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from imu_video.errors import RecordingError
from imu_video.recordings import signal
from imu_video.recordings.signal import resample_to_grid, resample_uniform


def tone(times: np.ndarray, hz: float, phase: float = 0.7) -> np.ndarray:
    return np.sin(2 * np.pi * hz * times + phase)


def decibel(ratio: float) -> float:
    return 20 * math.log10(ratio)


# ------------------------------------------------------------------------------------------------ irregular to grid


@pytest.mark.parametrize("source_hz", [60.0, 100.0, 185.3, 400.0])
@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_grid_band_limit(source_hz: float, jitter: float) -> None:
    rng = np.random.default_rng(1)
    times = (np.arange(int(12 * source_hz)) + rng.uniform(-jitter, jitter, int(12 * source_hz))) / source_hz
    grid = np.arange(500) / 50 + 0.5
    keep, fold = 0.4 * 25, 25 * 1.02
    kept = resample_to_grid(times, tone(times, keep)[None], rate_hz=50, start=0.5, samples=500)[0]
    limit = 0.01 if jitter == 0 else 0.05  # a tone sampled 6 times a period on a shaking clock is itself uncertain
    assert np.abs(kept - tone(grid, keep)).max() < limit
    if fold < (0.45 if jitter == 0 else 0.3) * source_hz:
        gone = resample_to_grid(times, tone(times, fold)[None], rate_hz=50, start=0.5, samples=500)[0]
        assert decibel(float(gone.std() / np.sqrt(0.5))) < -40


def test_grid_keeps_slow_tones_up_to_the_edges() -> None:
    times = np.arange(4000) / 400 + 3.0
    for phase in np.linspace(0, 6, 7):
        got = resample_to_grid(times, tone(times, 5.0, phase)[None], rate_hz=50, start=3.0, samples=500)[0]
        assert np.abs(got - tone(3.0 + np.arange(500) / 50, 5.0, phase)).max() < 0.015


def test_grid_is_exact_on_matching_samples_and_does_not_drift() -> None:
    times = 1e9 + np.arange(200_000) / 102.7  # an hour and more, on an epoch clock, at a rate that is no integer
    samples = int(200_000 / 102.7 * 20)
    got = resample_to_grid(times, tone(times - 1e9, 0.5)[None], rate_hz=20, start=1e9, samples=samples)[0]
    assert np.abs(got[:-2] - tone(np.arange(samples) / 20, 0.5)[:-2]).max() < 2e-3
    same = resample_to_grid(times[:50], times[None, :50] - 1e9, rate_hz=102.7, start=1e9, samples=50)[0]
    np.testing.assert_allclose(same, np.arange(50) / 102.7, atol=1e-6)


@pytest.mark.parametrize("source_hz", [30.0, 173.0])
def test_blocks_leave_no_seams(source_hz: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    times = (np.arange(int(20 * source_hz)) + rng.uniform(-0.2, 0.2, int(20 * source_hz))) / source_hz
    values = rng.normal(size=(3, len(times)))
    whole = resample_to_grid(times, values, rate_hz=50, start=-0.5, samples=1050)
    monkeypatch.setattr(signal, "_BLOCK", 37)
    np.testing.assert_allclose(resample_to_grid(times, values, rate_hz=50, start=-0.5, samples=1050), whole, atol=1e-6)


def test_gaps_edges_and_missing_channels_become_nan() -> None:
    times = np.concatenate([np.arange(0, 100), np.arange(150, 300)]) / 100
    values = np.stack([times, np.full_like(times, np.nan), times])
    values[2, 20:24] = np.nan  # 50 ms: bridged
    got = resample_to_grid(times, values, rate_hz=50, start=-1.0, samples=250)
    grid = -1 + np.arange(250) / 50
    inside = ((grid >= -1e-9) & (grid <= 0.995)) | ((grid >= 1.495) & (grid <= 2.995 + 1e-9))
    assert np.array_equal(np.isfinite(got[0]), inside)
    assert np.isnan(got[1]).all()
    assert np.array_equal(np.isfinite(got[2]), inside)
    np.testing.assert_allclose(got[2][inside], grid[inside], atol=0.006)


def test_a_gap_of_just_the_longest_length_is_bridged_wherever_it_lies() -> None:
    grid = np.arange(200) / 20
    for lost in range(1, 199):  # 0.1 s from neighbour to neighbour, up to the last bit of a difference
        times = np.delete(grid, lost)
        found = resample_to_grid(times, times[None], rate_hz=20, start=0, samples=200, max_gap_s=0.1)
        np.testing.assert_allclose(found[0], grid, atol=1e-5)


def test_max_gap_decides_and_never_cuts_a_slow_sensor() -> None:
    times = np.delete(np.arange(200) / 100, slice(50, 65))
    kwargs = {"rate_hz": 50, "start": 0.0, "samples": 100}
    assert np.isnan(resample_to_grid(times, times[None], max_gap_s=0.1, **kwargs)).sum() == 8
    assert np.isfinite(resample_to_grid(times, times[None], max_gap_s=0.2, **kwargs)).all()
    slow = np.arange(10) / 4  # 4 Hz: every step is longer than max_gap_s
    assert np.isfinite(resample_to_grid(slow, slow[None], rate_hz=50, start=0, samples=113, max_gap_s=0.1)).all()


def test_nearly_repeated_time_stamps_do_not_explode() -> None:
    rng = np.random.default_rng(2)
    times = np.cumsum(rng.choice([0.02, 0.0003, 0.04], 600, p=[0.8, 0.1, 0.1]))
    noise = rng.normal(0, 0.1, 600)
    got = resample_to_grid(times, noise[None], rate_hz=100, start=1.0, samples=900)
    assert np.nanmax(np.abs(got)) < 2 * np.abs(noise).max()
    two_rates = np.concatenate([np.arange(300) / 50, 6 + np.arange(900) / 500])
    line = resample_to_grid(two_rates, two_rates[None], rate_hz=50, start=0, samples=380)
    np.testing.assert_allclose(line[0], np.arange(380) / 50, atol=5e-3)


def test_grid_refuses_arrays_that_do_not_fit() -> None:
    with pytest.raises(RecordingError, match=r"\(T,\) and \(C, T\)"):
        resample_to_grid(np.arange(5.0), np.zeros((5, 6)), rate_hz=50, start=0, samples=5)
    with pytest.raises(RecordingError, match="0 Hz"):
        resample_to_grid(np.arange(5.0), np.zeros((6, 5)), rate_hz=0, start=0, samples=5)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(5, 300),
    st.floats(5, 300),
    st.floats(-2, 2),
    st.integers(2, 60),
    st.integers(0, 80),
    st.integers(0, 2**32 - 1),
)
def test_grid_never_invents_values(rate: float, to: float, start: float, n: int, samples: int, seed: int) -> None:
    """Output of the right shape, finite only near samples, and a constant stays that constant."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.2, 1.8, n)) / rate
    got = resample_to_grid(times, np.full((2, n), 3.0), rate_hz=to, start=start, samples=samples)
    assert got.shape == (2, samples)
    assert got.dtype == np.float32
    grid = start + np.arange(samples) / to
    reach = np.diff(times).max() / 2 + 1e-6 / to + 1e-9  # half a usual period, which close stamps do not count for
    outside = (grid < times[0] - reach) | (grid > times[-1] + reach)
    assert np.isnan(got[:, outside]).all()
    np.testing.assert_allclose(got[np.isfinite(got)], 3.0, rtol=0.01)


# ---------------------------------------------------------------------------------------------------- rate to rate


@pytest.mark.parametrize(("source", "target"), [(200, 50), (100, 50), (185.3, 50), (50, 20), (102.7, 50), (1000, 33.3)])
def test_uniform_band_limit(source: float, target: float) -> None:
    times = np.arange(int(10 * source)) / source
    nyquist = target / 2
    keep, fold = 0.5 * nyquist, 1.02 * nyquist
    out = resample_uniform(np.stack([tone(times, keep), tone(times, fold)]), source, target)
    grid = np.arange(out.shape[1]) / target
    assert np.abs(out[0] - tone(grid, keep)).max() < 0.03  # at half the band, edges included
    assert np.abs(out[0] - tone(grid, keep))[15:-15].max() < 0.01
    assert decibel(float(out[1][20:-20].std() / np.sqrt(0.5))) < -40


def test_uniform_keeps_slow_tones_up_to_the_edges() -> None:
    for phase in np.linspace(0, 6, 7):
        out = resample_uniform(tone(np.arange(1000) / 200, 5.0, phase), 200, 50)
        assert np.abs(out - tone(np.arange(250) / 50, 5.0, phase)).max() < 0.015


def test_uniform_upsampling_follows_the_tone() -> None:
    out = resample_uniform(tone(np.arange(300) / 25, 4.0), 25, 60)
    assert out.shape == (720,)
    error = np.abs(out - tone(np.arange(720) / 60, 4.0))
    assert error[40:-40].max() < 0.01


@pytest.mark.parametrize(("source", "target"), [(197.4548400705684, 50), (50, 49.97), (99.9, 100)])
def test_uniform_does_not_drift(source: float, target: float) -> None:
    times = np.arange(int(1200 * source)) / source
    out = resample_uniform(tone(times, 0.3), source, target)
    assert np.abs(out - tone(np.arange(len(out)) / target, 0.3)).max() < 2.5e-3


def test_uniform_shapes_dtypes_and_identity() -> None:
    x = np.random.default_rng(0).normal(size=(3, 6, 250)).astype(np.float32)
    same = resample_uniform(x, 50, 50.0)
    assert np.array_equal(same, x)
    assert same is not x
    assert resample_uniform(x, 50, 20).dtype == np.float32
    assert resample_uniform(x, 50, 20).shape == (3, 6, 100)
    assert resample_uniform(np.arange(7), 50, 25).dtype == np.float64
    np.testing.assert_allclose(resample_uniform(x, 50, 20)[1], resample_uniform(x[1], 50, 20))
    np.testing.assert_allclose(resample_uniform(np.full((1, 40), 5.0), 30, 77), 5.0, rtol=3e-3)


def test_uniform_carries_missing_samples_through() -> None:
    x = np.stack([np.arange(400) / 400, np.full(400, np.nan), np.arange(400) / 400])
    x[0, 100:200] = np.nan
    x[2, 50] = np.nan  # one sample of four: the output sample is still mostly measured
    out = resample_uniform(x, 200, 50)
    assert np.isnan(out[0]).sum() == 25
    assert np.isnan(out[0, 26:50]).all()
    assert np.isnan(out[1]).all()
    np.testing.assert_allclose(out[2], np.arange(100) / 100, atol=2e-3)
    up = resample_uniform(x[0], 200, 400)
    assert abs(int(np.isnan(up).sum()) - 200) <= 2


def test_uniform_refuses_nothing_and_bad_rates() -> None:
    for values, a, b in [(np.zeros((6, 0)), 50, 25), (np.zeros((6, 5)), 0, 25), (np.zeros((6, 5)), 50, -1)]:
        with pytest.raises(RecordingError, match="cannot resample"):
            resample_uniform(values, a, b)


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(4, 60), seed=st.integers(0, 999))
def test_the_spline_is_scipys(samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.2, 1.0, samples))
    values = rng.normal(size=(3, samples))
    at = np.sort(np.concatenate([times, rng.uniform(times[0], times[-1], 50)]))
    np.testing.assert_allclose(
        signal._spline(times, values, at), CubicSpline(times, values, axis=1)(at), atol=1e-9 * samples
    )


@pytest.mark.parametrize(("source", "grid", "late"), [(50, 50, 0.0), (100, 50, 0.0), (50, 50, 0.1), (96, 32, 0.25)])
def test_samples_on_the_grid_are_taken_as_they_are(
    source: int, grid: int, late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = late + np.arange(20 * source) / source
    values = np.random.default_rng(0).normal(size=(2, len(times)))
    values[:, 300:340] = np.nan

    def resampled() -> np.ndarray:
        return resample_to_grid(times, values, rate_hz=grid, start=0.0, samples=20 * grid + 20)

    taken = resampled()
    if source == grid:
        first = round(late * grid)
        np.testing.assert_array_equal(taken[:, first : first + len(times)], values.astype(np.float32))
    monkeypatch.setattr(signal, "_SAME_TIME", 1e-12)  # what lies beside the grid by rounding goes through the spline
    np.testing.assert_allclose(taken, resampled(), atol=1e-5)
    monkeypatch.setattr(signal._Piece, "_samples", lambda *_: None)
    np.testing.assert_allclose(taken, resampled(), atol=1e-5)
