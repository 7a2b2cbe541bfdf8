"""Input specifications: normalisation, validation, and their fit to training windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from imu_video.bundle.input_spec import fit_input_spec
from imu_video.errors import DataError
from imu_video.types import IMU_CHANNELS
from tests.bundle.made import STD, motion, spec


def test_spec_normalises_numpy_and_torch_alike() -> None:
    s = spec(mean=(1.0,) * 6)
    x = motion()
    expected = (x - 1.0) / np.array(STD, np.float32)[:, None]
    assert np.allclose(s.normalise(x), expected, atol=1e-6)
    assert torch.allclose(s.normalise(torch.from_numpy(x)), torch.from_numpy(expected), atol=1e-6)
    assert s.normalise(x).dtype == np.float32
    assert s.samples == 100
    with pytest.raises(ValueError, match="C=6"):
        s.normalise(x.transpose(0, 2, 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"rate_hz": 0},
        {"rate_hz": math.inf},
        {"window_s": -1},
        {"channels": ("acc_x", "acc_x"), "mean": (0, 0), "std": (1, 1)},
        {"channels": ("heart",), "mean": (0,), "std": (1,)},
        {"channels": ("heart rate",), "units": {"heart rate": "bpm"}, "mean": (0,), "std": (1,)},
        {"channels": ("acc_x", "heart"), "units": {"acc_x": "g", "heart": "bpm"}, "mean": (0, 0), "std": (1, 1)},
        {"channels": ("acc_x",), "normalised": "unknown", "units": {"acc_x": "m/s^2"}, "mean": (0,), "std": (1,)},
        {"units": {"heart": "bpm"}},
        {"std": (1.0,) * 5},
        {"std": (0.0,) + (1.0,) * 5},
        {"mean": (math.nan,) * 6},
        {"units": dict.fromkeys(IMU_CHANNELS, "g")},
        {"gravity": "maybe"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_bad_specs_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**changes)


def test_fit_takes_one_rms_a_sensor_and_no_offset() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (700, 6, 40)).astype(np.float32)
    x[:, 3:] *= 0.25
    x[:, 2] += 9.8
    x[5, 0] = np.nan
    fitted = fit_input_spec(x, rate_hz=50, window_s=0.8)
    assert fitted.mean == (0.0,) * 6
    acc, gyr = np.sqrt(np.nanmean(x[:, :3].astype(float) ** 2)), np.sqrt(np.mean(x[:, 3:].astype(float) ** 2))
    assert fitted.std == pytest.approx((acc,) * 3 + (gyr,) * 3)
    by_device = fit_input_spec(x.reshape(350, 2, 6, 40), rate_hz=50, window_s=0.8)
    assert by_device.std == pytest.approx(fitted.std)


def test_fit_by_channel_and_fixed_scales() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (700, 6, 40)).astype(np.float32)
    x[:, 2] += 9.8
    x[5, 0] = np.nan
    x[:, 4] = 0.25
    x[:, 5] = np.nan
    facts = {"rate_hz": 50, "window_s": 0.8}
    fitted = fit_input_spec(x, **facts, normalise="channels")
    known = x[:, :4].astype(float)
    assert fitted.mean[:4] == pytest.approx(np.nanmean(known, axis=(0, 2)), abs=1e-9)
    assert fitted.std[:4] == pytest.approx(np.nanstd(known, axis=(0, 2)))
    assert (fitted.mean[4], fitted.std[4]) == (0.25, 1.0), "a constant channel is only centred"
    assert (fitted.mean[5], fitted.std[5]) == (0.0, 1.0)
    by_device = fit_input_spec(x.reshape(350, 2, 6, 40), **facts, normalise="channels")
    assert by_device.std == pytest.approx(fitted.std)
    for scale, std in (("none", 1.0), (30.0, 30.0)):
        fixed = fit_input_spec(x, **facts, normalise=scale)
        assert (fixed.mean, fixed.std) == ((0.0,) * 6, (std,) * 6)


def test_fit_names_what_cannot_be_fitted() -> None:
    x = motion()
    x[:, 3:] = np.nan
    assert fit_input_spec(x, rate_hz=50, window_s=2).std[3:] == (1.0,) * 3
    x[:, 3:] = 0
    with pytest.raises(DataError, match="'gyr' has RMS 0"):
        fit_input_spec(x, rate_hz=50, window_s=2)
    with pytest.raises(DataError, match="no window contains"):
        fit_input_spec(np.full_like(x, np.nan), rate_hz=50, window_s=2)
    with pytest.raises(DataError, match="C=6"):
        fit_input_spec(x.transpose(0, 2, 1), rate_hz=50, window_s=2)
