"""Frozen encoders of a network keep weights and running statistics, whatever mode the network is in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eval.freezing import EncoderNetwork


class Two(EncoderNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(2))
        self.head = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2))

    def encoders(self) -> list[nn.Module]:
        return [self.first, self.second]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.cat([self.first(x), self.second(x)], dim=1))
        return out


def changed(network: Two) -> set[str]:
    """Names of the parts that one training step changes."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    network.train()
    network(torch.randn(8, 3, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimiser.step()
    return {name.partition(".")[0] for name, value in network.state_dict().items() if not value.equal(before[name])}


def test_a_step_changes_the_head_alone_while_the_encoders_are_frozen() -> None:
    torch.manual_seed(0)
    network = Two()
    network.freeze(True)
    assert changed(network) == {"head"}
    assert network.head.training
    assert not network.first.training
    assert not network.second.training
    network.freeze(False)
    assert changed(network) == {"first", "second", "head"}
