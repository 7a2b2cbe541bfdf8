"""Statistics as a layer: finite gradients, groups, short windows, powers of other window lengths."""

from __future__ import annotations

import pytest
import torch

from imu_video.encoders.layers.statistics import SignalStatistics, statistic_names
from imu_video.errors import ConfigError
from imu_video.types import IMU_CHANNELS


def layer(**options: object) -> SignalStatistics:
    return SignalStatistics(**{"channels": IMU_CHANNELS, "rate_hz": 50.0, **options})  # type: ignore[arg-type]


def test_gradients_are_finite_wherever_a_root_or_logarithm_is_not() -> None:
    x = torch.randn(5, 6, 60, generator=torch.Generator().manual_seed(0))
    x[1] = 0  # neither power nor spread
    x[2] = 3.0
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[3, :3] = False
    mask[4] = False
    x = torch.where(mask, x, torch.nan).requires_grad_()
    values, defined = layer()(x, mask)
    values.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad[~mask] == 0).all()
    assert not defined[4].any()
    assert not values[4].any()


@pytest.mark.parametrize("group", ["time", "spectrum", "joint"])
def test_gradients_are_those_of_the_values(group: str) -> None:
    own = SignalStatistics(channels=["acc_x", "acc_y", "acc_z"], rate_hz=20.0, groups=[group])  # type: ignore[list-item]
    x = 3 + torch.randn(1, 3, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, 0, 4:6] = False
    assert torch.autograd.gradcheck(lambda v: own(v, mask)[0], x.requires_grad_(), atol=1e-5)


def test_groups_are_columns_of_the_whole() -> None:
    x = torch.randn(3, 6, 100, generator=torch.Generator().manual_seed(1))
    whole = layer()
    for groups in (["time"], ["spectrum"], ["joint"], ["joint", "time"]):
        part = layer(groups=groups)
        columns = [whole.names.index(name) for name in part.names]
        assert torch.equal(part(x)[0], whole(x)[0][:, columns])
    with pytest.raises(ConfigError, match="no statistic"):
        SignalStatistics(channels=["emg_1"], rate_hz=50.0, groups=["joint"])


def test_a_window_without_gaps_needs_no_mask() -> None:
    x = torch.randn(3, 6, 100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(layer()(x)[0], layer()(x, torch.ones_like(x, dtype=torch.bool))[0])


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_short_windows_have_finite_statistics(samples: int) -> None:
    values, defined = layer()(torch.ones(2, 6, samples))
    assert values.isfinite().all()
    assert defined[:, statistic_names(IMU_CHANNELS).index("acc_x.mean")].all()


def test_band_powers_refer_to_the_stated_length() -> None:
    time = torch.arange(500) / 50
    tone = torch.sin(2 * torch.pi * 2.0 * time).expand(1, 6, -1)
    own = layer(samples=250)
    band = own.names.index("acc_x.band_1.5_2.5")
    short, long = (float(own(tone[..., :n])[0][0, band]) for n in (250, 500))
    assert short == pytest.approx(long, abs=0.05)
    assert float(layer()(tone)[0][0, band]) > long + 0.6
    assert short == pytest.approx(float(layer()(tone[..., :250])[0][0, band]), abs=1e-6)
