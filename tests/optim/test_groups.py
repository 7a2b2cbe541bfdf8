"""Who decays, and the optimiser's state out and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imu_video.errors import CheckpointError
from imu_video.optim.groups import (
    Algorithm,
    Decayed,
    adam,
    groups_by_shape,
    load_optimizer_tensors,
    optimizer_tensors,
    parameter_groups,
    set_learning_rate,
)
from tests.reference.naive_adam import NaiveAdam


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.LayerNorm((2, 4))  # its weight has two axes, and still must not decay
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.wide_scale = nn.Parameter(torch.ones(2, 2))
        self.token = nn.Parameter(torch.ones(1, 1, 4))
        self.marked = nn.Parameter(torch.ones(1, 1, 4))
        self.marked.no_decay = True  # type: ignore[attr-defined]
        self.frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)


def test_only_matrices_decay() -> None:
    decay, free = parameter_groups(Toy(), weight_decay=0.1)
    assert decay["names"] == ["token", "linear.weight"] or sorted(decay["names"]) == ["linear.weight", "token"]
    assert sorted(free["names"]) == sorted(
        ["linear.bias", "norm.weight", "norm.bias", "logit_scale", "wide_scale", "marked"]
    )
    assert (decay["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        set_learning_rate(optimizer, 0.01 / (step + 1))
        module(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_state_out_and_back_continues_bit_equal() -> None:
    torch.manual_seed(0)
    whole, half = nn.Linear(3, 4), nn.Linear(3, 4)
    half.load_state_dict(whole.state_dict())
    first = adam(whole, weight_decay=0.1, betas=(0.9, 0.98))
    train(whole, first, range(6))
    second = adam(half, weight_decay=0.1, betas=(0.9, 0.98))
    train(half, second, range(3))
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(second).items()}
    third = adam(half, weight_decay=0.1, betas=(0.9, 0.98))
    load_optimizer_tensors(third, saved)
    train(half, third, range(3, 6))
    assert torch.equal(whole.weight, half.weight)
    assert torch.equal(whole.bias, half.bias)


def test_state_of_another_model_is_refused() -> None:
    optimizer = adam(nn.Linear(3, 4), weight_decay=0.1, betas=(0.9, 0.98))
    with pytest.raises(CheckpointError, match="belongs to no parameter"):
        load_optimizer_tensors(optimizer, {"other/exp_avg": torch.zeros(4, 3)})
    with pytest.raises(CheckpointError, match=r"expected \(4, 3\)"):
        load_optimizer_tensors(optimizer, {"weight/exp_avg": torch.zeros(3, 4)})


def test_groups_by_shape_keep_order_and_settings() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    matrices, vectors = groups_by_shape(module.parameters(), weight_decay=0.1, lr=0.5)
    assert [p is q for p, q in zip(matrices["params"], (module[0].weight, module[2].weight), strict=True)] == [True] * 2
    assert len(vectors["params"]) == 4
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert matrices["lr"] == vectors["lr"] == 0.5
    torch.optim.AdamW([matrices, vectors])  # what it is for


@pytest.mark.parametrize("algorithm", ["adam", "adamw", "amsgrad"])
@pytest.mark.parametrize("decayed", ["matrices", "all"])
def test_both_algorithms_equal_their_slow_twin(algorithm: Algorithm, decayed: Decayed) -> None:
    torch.manual_seed(0)
    module = nn.Linear(3, 2).double()
    parts = [[p.detach().clone()] for p in module.parameters()]
    optimizer = adam(module, weight_decay=0.1, betas=(0.8, 0.99), algorithm=algorithm, decayed=decayed)
    set_learning_rate(optimizer, 0.05)
    twins = [
        NaiveAdam(
            part, lr=0.05, betas=(0.8, 0.99), decoupled=algorithm == "adamw",
            amsgrad=algorithm == "amsgrad",
            weight_decay=0.1 if decayed == "all" or part[0].ndim > 1 else 0.0,
        )
        for part in parts
    ]  # fmt: skip
    for _ in range(5):
        gradients = [torch.randn_like(p) for p in module.parameters()]
        for parameter, gradient, twin in zip(module.parameters(), gradients, twins, strict=True):
            parameter.grad = gradient
            twin.step([gradient])
        optimizer.step()
    for parameter, part in zip(module.parameters(), parts, strict=True):
        torch.testing.assert_close(parameter.detach(), part[0], atol=1e-12, rtol=0)


def test_gradient_descent_has_no_moments() -> None:
    module = nn.Linear(3, 2)
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = adam(module, weight_decay=0.1, betas=(0.9, 0.98), algorithm="sgd")
    set_learning_rate(optimizer, 0.5)
    module(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    for parameter, start, decay in zip(module.parameters(), before, (0.1, 0.0), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter, start - 0.5 * (parameter.grad + decay * start))
    assert optimizer_tensors(optimizer) == {}
