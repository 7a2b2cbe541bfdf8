"""The bound on what a network allocates: every way of making a tensor is counted before its memory is taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from imu_video.encoders import allocation
from imu_video.encoders.allocation import bounded
from imu_video.errors import ConfigError

WAYS: list[Callable[[], object]] = [
    lambda: torch.empty(40, 40),
    lambda: torch.zeros((40, 40)),
    lambda: torch.ones(size=(40, 40)),
    lambda: torch.full((40, 40), 0.5),
    lambda: torch.empty_strided((40, 40), (40, 1)),
    lambda: torch.randint(5, (40, 40)),
    lambda: torch.randint(0, 5, size=(40, 40)),
    lambda: torch.zeros(1).new_empty(40, 40),
    lambda: torch.zeros(1).new_full((40, 40), 1.0),
    lambda: torch.zeros(4).repeat(20, 20),
    lambda: torch.arange(1600),
    lambda: torch.linspace(0, 1, steps=1600),
    lambda: torch.eye(40),
    lambda: nn.Linear(40, 40),
    lambda: nn.LSTM(40, 10),
    lambda: nn.MultiheadAttention(40, 4),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_a_tensor_that_is_too_large(monkeypatch: pytest.MonkeyPatch, way: int) -> None:
    monkeypatch.setattr(allocation, "MOST_VALUES", 1599)
    with pytest.raises(ConfigError, match="the net has a tensor of"), bounded("the net"):
        WAYS[way]()
    monkeypatch.setattr(allocation, "MOST_VALUES", 10_000)
    with bounded("the net"):
        WAYS[way]()


def test_too_many_values_or_tensors_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "MOST_VALUES", 99)
    monkeypatch.setattr(allocation, "MOST_TENSORS", 3)
    with pytest.raises(ConfigError, match="a tensor of 6 x 10 values, at most 99 in all"), bounded("the net"):
        torch.zeros(4, 10), torch.zeros(6, 10)
    with pytest.raises(ConfigError, match="more than 3 tensors"), bounded("the net"):
        [torch.zeros(1) for _ in range(4)]


def test_mistakes_stay_those_of_torch() -> None:
    with pytest.raises(TypeError), bounded("the net"):
        torch.zeros("x")  # type: ignore[call-overload]
    with pytest.raises(RuntimeError, match="negative"), bounded("the net"):
        torch.zeros(-1)
