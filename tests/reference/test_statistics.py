"""Differentiable statistics against their twin in numpy, with gaps, on several rates, lengths and sets of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imu_video.encoders.layers.statistics import SignalStatistics
from imu_video.types import IMU_CHANNELS
from tests.reference.naive_statistics import naive_statistics

DEVICES = ("emg_1", *(f"leg.{c}" for c in IMU_CHANNELS), "arm.mag_x")


def moving(channels: int, samples: int, *, gaps: bool) -> np.ndarray:
    rng = np.random.default_rng([channels, samples])
    x = 0.3 * rng.normal(size=(12, channels, samples)).cumsum(-1) + 5 * rng.normal(size=(12, channels, 1))
    if gaps:
        x[1, 0, samples // 4 : samples // 2] = np.nan
        x[2, channels // 2 :] = np.nan
        x[3] = np.nan
        x[4][rng.random((channels, samples)) < 0.4] = np.nan
    x[5] = 3.0
    return x


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("channels", "samples", "rate_hz"),
    [(IMU_CHANNELS, 250, 50.0), (IMU_CHANNELS, 33, 25.6), (DEVICES, 200, 100.0), (("emg_1",), 151, 64.0)],
)
def test_statistics_equal_their_twin(
    channels: tuple[str, ...], samples: int, rate_hz: float, gaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = moving(len(channels), samples, gaps=gaps)
    expected = naive_statistics(x, rate_hz=rate_hz, channels=channels)
    layer = SignalStatistics(channels=channels, rate_hz=rate_hz)
    there = torch.from_numpy(np.isfinite(x)) if gaps else None
    found, defined = layer(torch.from_numpy(x), there)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert not np.any(expected[~defined.numpy()])
    single, same = layer(torch.from_numpy(x).float(), there)
    assert torch.equal(same, defined)
    # Frequencies are counts of bins, whose ties rounding decides.
    counted = [name.endswith("_frequency") for name in layer.names]
    close = np.isclose(single, expected, rtol=1e-3, atol=1e-3)
    assert close[:, ~np.array(counted)].all()
    assert close.mean() > 0.99
    # An exported graph holds matrix products in place of Fourier transforms.
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    exported, _ = layer(torch.from_numpy(x), there)
    assert (np.isclose(exported, expected, rtol=1e-6, atol=1e-6).mean(0) == 1)[~np.array(counted)].all()
