"""Augmentations of windows with other channels: triads by name are rotated, other channels are not mixed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imu_video import registry
from imu_video.transforms import Compose
from imu_video.transforms.layout import Layout, canonical_layout
from imu_video.types import IMU_CHANNELS, channel_unit

CANONICAL = {name: channel_unit(name) for name in IMU_CHANNELS}
MIXED = {
    "emg_1": "mV",
    **{f"torso.{name}": unit for name, unit in CANONICAL.items()},
    **{f"leg.mag_{axis}": "uT" for axis in "xyz"},
    "leg.acc_x": "m/s^2",
    "temp": "degC",
}
FORMS: dict[str, list[dict[str, Any]]] = {
    "scale": [{"per": "channel", "factor": "linear"}],
    "rotate": [{"max_degrees": 180}],
    "time_warp": [{"curve": "spline", "scale_gyr": False}],
}
NAMES = sorted(n for n in registry.augmentations.names() if not n.startswith("test_"))


def window(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    imu = torch.randn(4, channels, 60, generator=torch.Generator().manual_seed(0)) + 3
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[1, 0, :20] = False
    mask[2, :, 40:] = False
    return torch.where(mask, imu, 0), mask


def augmented(name: str, channels: dict[str, str] | None, count: int, **options: Any) -> tuple[torch.Tensor, ...]:
    entry = {"name": name, "p": 1.0, **options}
    return Compose.build([entry], channels=channels)(*window(count), torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", NAMES)
def test_the_canonical_channels_by_name_are_those_without_names(name: str) -> None:
    assert Layout.of(CANONICAL) == canonical_layout(6)
    for options in [{}, *FORMS.get(name, [])]:
        for one, other in zip(
            augmented(name, CANONICAL, 6, **options), augmented(name, None, 6, **options), strict=True
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize("count", [1, 8, 45])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_channels(name: str, count: int) -> None:
    channels = {f"c{i}": "mV" for i in range(count)}
    imu, mask = window(count)
    out, out_mask = augmented(name, channels, count)
    assert out.shape == imu.shape
    assert out.isfinite().all()
    assert (out[~out_mask] == 0).all()
    if name in ("rotate", "swap_axes", "drop_sensor"):
        assert torch.equal(out, imu), "no triads and no sensors of a known kind"
        assert torch.equal(out_mask, mask)


def test_each_named_triad_turns_with_its_device_and_the_rest_stays() -> None:
    imu, _ = window(len(MIXED))
    imu = imu + 0.5
    mask = torch.ones_like(imu, dtype=torch.bool)
    rotate = Compose.build([{"name": "rotate", "max_degrees": 180, "p": 1.0}], channels=MIXED)
    out, _ = rotate(imu, mask, torch.Generator().manual_seed(1))
    names = list(MIXED)

    def rows(sensor: str) -> list[int]:
        return [names.index(f"{sensor}_{axis}") for axis in "xyz"]

    matrices = {}
    for sensor in ("torso.acc", "torso.gyr", "leg.mag"):
        before, after = imu[:, rows(sensor)].double(), out[:, rows(sensor)].double()
        assert torch.allclose(before.norm(dim=1), after.norm(dim=1), rtol=1e-4)
        matrices[sensor] = torch.linalg.lstsq(before.transpose(1, 2), after.transpose(1, 2)).solution
    assert torch.allclose(matrices["torso.acc"], matrices["torso.gyr"], atol=1e-3), "one device, one mounting"
    assert not torch.allclose(matrices["torso.acc"], matrices["leg.mag"], atol=1e-2)
    for name in ("emg_1", "leg.acc_x", "temp"):
        assert torch.equal(out[:, names.index(name)], imu[:, names.index(name)])


def test_noise_of_other_units_is_relative_to_the_channel() -> None:
    imu = torch.randn(2, 2, 4000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[100.0], [1.0]]) + 50
    mask = torch.ones_like(imu, dtype=torch.bool)
    jitter = Compose.build([{"name": "jitter", "other_sigma": 0.1}], channels={"emg_1": "mV", "wrist.acc_x": "m/s^2"})
    noise = jitter(imu, mask, torch.Generator().manual_seed(2))[0] - imu
    assert noise[:, 0].std() == pytest.approx(10, rel=0.1)
    assert noise[:, 1].std() == pytest.approx(0.2, rel=0.1)


def test_angular_rates_follow_the_tempo_whatever_their_unit() -> None:
    channels = {"a.gyr_x": "1", "b.turn": "deg/s", "c.acc_x": "1"}
    crop = Compose.build([{"name": "crop_resize", "p": 1.0}], channels=channels)
    out, _ = crop(torch.ones(1, 3, 50), torch.ones(1, 3, 50, dtype=torch.bool), torch.Generator().manual_seed(0))
    assert (out[:, :2] < 1).all()
    assert (out[:, 2] == 1).all()


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="with C = 11"):
        Compose.build(["jitter"], channels={f"c{i}": "1" for i in range(11)})(*window(6), torch.Generator())
