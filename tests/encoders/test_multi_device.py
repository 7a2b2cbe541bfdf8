"""multi_device: devices by name, equal networks, missing devices, both fusions against loops, training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.encoders import MultiDevice
from imu_video.encoders.multi_device import devices_of
from imu_video.errors import ConfigError
from imu_video.testing import check_encoder

NETWORK = {"name": "segment_cnn", "width": 8, "blocks": 2, "norm": "group"}
NAMES = tuple(f"{place}.acc_{axis}" for place in ("wrist", "hip", "ankle") for axis in "xyz")


def made(**options: Any) -> MultiDevice:
    torch.manual_seed(0)
    return MultiDevice(**{"network": NETWORK, "channels": 9, "names": NAMES, **options}).eval()


def windows(rows: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(rows, 9, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", [{"fusion": "mean"}, {"fusion": "attention"}], ids=str)
def test_several_devices_keep_the_contract(options: dict[str, Any]) -> None:
    check_encoder(made(**options), lengths=(250, 100, 7))


@pytest.mark.parametrize("fusion", ["mean", "attention"])
def test_fusion_equals_a_loop_over_the_devices_that_measured(fusion: str) -> None:
    model, x = made(fusion=fusion), windows()
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[1, :3] = False  # the wrist
    mask[2, 3:] = False  # hip and ankle
    z = model(torch.where(mask, x, 0), mask)
    for row, used in enumerate(([0, 1, 2], [1, 2], [0], [0, 1, 2])):
        assert model.embedding is not None
        h = [model.network(x[row : row + 1, 3 * v : 3 * v + 3])[0] + model.embedding[v] for v in used]
        score = [torch.zeros(()) if model.attention is None else model.attention(one)[0] for one in h]
        total = sum(s.exp() for s in score)
        expected = sum(s.exp() / total * one for s, one in zip(score, h, strict=True))
        torch.testing.assert_close(z[row], expected, atol=1e-5, rtol=1e-4)


def test_devices_may_have_different_channels() -> None:
    names = ["wrist.acc_x", "wrist.gyr_x", "hip.gyr_x"]
    assert devices_of(names) == {"wrist": {"acc_x": 0, "gyr_x": 1}, "hip": {"gyr_x": 2}}
    model = made(channels=3, names=names)
    assert model.network.channels == 2
    x = windows()[:, :3]
    _, present = model.by_device(x)
    assert present.all()
    # The hip's missing accelerometer is masked, not the wrist's.
    features, _ = model.by_device(x)
    two = torch.stack([torch.zeros_like(x[:, 2]), x[:, 2]], 1)
    there = torch.stack([torch.zeros_like(x[:, 2]), torch.ones_like(x[:, 2])], 1) > 0
    assert model.embedding is not None
    torch.testing.assert_close(features[:, 1], model.network(two, there) + model.embedding[1])
    check_encoder(model)


def test_hidden_devices_in_training_leave_at_least_one() -> None:
    model = made(drop=0.9).train()
    torch.manual_seed(0)
    present = torch.ones(500, 3, dtype=torch.bool)
    present[0] = torch.tensor([False, True, False])
    kept = model._some(present)
    assert kept.any(1).all()
    assert kept[0].tolist() == [False, True, False]
    assert kept.float().mean() < 0.5


def test_training_with_devices_missing_finds_the_class() -> None:
    """The class is a frequency that every device shows; in a third of the windows only one device measured."""
    torch.manual_seed(0)
    model = MultiDevice(network=NETWORK, channels=9, names=NAMES)
    head = torch.nn.Linear(model.feature_dim, 2)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=3e-3)
    generator = torch.Generator().manual_seed(1)

    def draw(rows: int) -> tuple[Tensor, Tensor, Tensor]:
        label = torch.arange(rows) % 2
        phase = 6.28 * torch.rand(rows, 9, 1, generator=generator)
        hertz = torch.tensor([1.0, 4.0])[label][:, None, None]
        x = torch.sin(6.28 * hertz * torch.arange(64) / 32 + phase)
        mask = torch.ones_like(x, dtype=torch.bool)
        alone = torch.arange(rows) % 3 == 0
        mask[alone, 3:] = False
        return torch.where(mask, x, 0), mask, label

    for _ in range(40):
        x, mask, label = draw(24)
        loss = torch.nn.functional.cross_entropy(head(model(x, mask)), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x, mask, label = draw(60)
    with torch.no_grad():
        assert (head(model.eval()(x, mask)).argmax(1) == label).float().mean() > 0.9


def test_names_come_from_the_windows() -> None:
    spec = InputSpec(
        channels=NAMES, units=dict.fromkeys(NAMES, "m/s^2"), rate_hz=32, window_s=2, mean=(0,) * 9, std=(1,) * 9
    )
    bundle = EncoderBundle(spec=spec, encoder={"name": "multi_device", "network": NETWORK})
    assert bundle.encoder.placements == ("wrist", "hip", "ankle")
    for names in (NAMES[:3], (*NAMES[:8], NAMES[0])):
        with pytest.raises(ConfigError, match="different names for 9 channels"):
            made(names=names)


def test_a_network_that_is_fitted_sees_measured_devices_only() -> None:
    model = made(network={"name": "hybrid", "network": NETWORK, "columns": 8})
    x = windows(40)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, :3] = False
    model.fit(torch.where(mask, x, 0), mask)
    assert bool(model.network.statistics_scale.fitted)
    assert model(x, mask).isfinite().all()
    made().fit(x)  # nothing to fit
