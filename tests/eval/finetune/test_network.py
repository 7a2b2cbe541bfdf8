"""Training on labels: passes over the labelled windows, a frozen encoder, rates of encoder and head."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from eval.finetune.config import NetworkConfig
from eval.finetune.network import Network, measured, train_network
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec

SPEC = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(1.0,) * 6)
CNN = {"name": "harood_cnn", "kernel": 5, "norm": "batch"}


def network(**options: Any) -> Network:
    torch.manual_seed(0)
    return Network(bundle=EncoderBundle(spec=SPEC, encoder=CNN), classes=3, **options)


@pytest.fixture
def labelled() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(20, 6, 64, generator=torch.Generator().manual_seed(1))
    return *measured(x.numpy()), torch.eye(3)[torch.arange(20) % 3]


def test_epochs_show_every_window_so_many_times(
    labelled: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    imu, mask, targets = labelled
    net, shown = network(), []
    forward = net.forward
    monkeypatch.setattr(net, "forward", lambda x, *rest: (shown.append(x), forward(x, *rest))[1])
    train_network(net, imu, mask, targets, config=NetworkConfig(epochs=4, batch=8, augment=[]), seed=0)
    assert len(shown) == 10  # 4 x 20 windows in batches of 8
    times = [sum(int((x == row).all(dim=(1, 2)).sum()) for x in shown) for row in imu]
    assert times == [4] * 20


@pytest.mark.parametrize("extra", [0, 2])
def test_a_frozen_encoder_stays_and_its_features_are_computed_once(
    labelled: tuple[torch.Tensor, ...], extra: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an augmentation, here one that does nothing, every step runs the encoder: the same head comes out."""
    monkeypatch.setattr("eval.finetune.network.Compose.build", lambda entries, **_: lambda x, m, generator: (x, m))
    imu, mask, targets = labelled
    beside = torch.randn(20, extra) if extra else None
    calls: list[int] = []
    features = Network.features
    monkeypatch.setattr(Network, "features", lambda self, *x: (calls.append(len(x[0])), features(self, *x))[1])
    heads = []
    for augment in ([], ["jitter"]):
        net = network(extra=extra)
        net.freeze(True)
        before = copy.deepcopy(net.bundle.state_dict())
        calls.clear()
        config = NetworkConfig(steps=6, batch=8, learning_rate=0.01, augment=augment)
        train_network(net, imu, mask, targets, config=config, seed=0, extra=beside)
        assert calls == ([20] if not augment else [8] * 6)
        assert all(torch.equal(before[name], value) for name, value in net.bundle.state_dict().items())
        heads.append(torch.cat([p.detach().flatten() for p in net.head_parameters()]))
    torch.testing.assert_close(heads[0], heads[1], atol=1e-6, rtol=0)
    assert not torch.equal(heads[0], torch.cat([p.detach().flatten() for p in network(extra=extra).head_parameters()]))
    net.freeze(False)
    train_network(net, imu, mask, targets, config=config, seed=0, extra=beside)
    assert not torch.equal(before["encoder.layers.0.weight"], net.bundle.state_dict()["encoder.layers.0.weight"])
    assert int(net.bundle.state_dict()["encoder.layers.1.num_batches_tracked"]) == 6


def test_plain_adam_equals_a_loop_of_torch(labelled: tuple[torch.Tensor, ...]) -> None:
    """Without norm, clipping, decay and weight decay: encoder and linear layer by Adam at a constant rate."""
    imu, mask, targets = labelled
    plain: dict[str, Any] = {"warmup": 0.0, "decay": "constant", "clip": None, "norm": False, "weight_decay": 0.0}
    config = NetworkConfig(epochs=2, batch=20, learning_rate=0.01, augment=[], **plain)
    net, twin = network(norm=False), network(norm=False)
    assert [name for name, _ in net.named_parameters() if "norm" in name and "bundle" not in name] == []
    train_network(net, imu, mask, targets, config=config, seed=0)
    adam = torch.optim.Adam(twin.parameters(), lr=0.01)
    twin.train()
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        rows = torch.randperm(20, generator=generator)
        loss = torch.nn.functional.cross_entropy(twin.linear(twin.bundle(imu[rows], mask[rows])), targets[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)
