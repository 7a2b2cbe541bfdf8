"""Weights between two networks: exact ends, exact on linear networks, statistics and counters; the choice of alpha."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from eval.finetune.config import ALPHAS, Alphas
from eval.finetune.wise import choose_alpha, interpolate


def two(make: type[nn.Module], *arguments: int) -> tuple[nn.Module, nn.Module]:
    """Two networks of one shape with different weights."""
    torch.manual_seed(0)
    return make(*arguments), make(*arguments)


def test_ends_come_back_in_the_same_bits() -> None:
    a, b = (network.state_dict() for network in two(nn.Linear, 50, 40))
    for alpha, end in ((0.0, a), (1.0, b)):
        found = interpolate(a, b, alpha)
        assert all(torch.equal(found[name], end[name]) for name in end)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
def test_outputs_of_a_linear_network_interpolate_exactly(alpha: float) -> None:
    a, b = two(nn.Linear, 6, 3)
    x = torch.randn(20, 6, dtype=torch.float64)
    a, b = a.double(), b.double()
    between = copy.deepcopy(a)
    between.load_state_dict(interpolate(a.state_dict(), b.state_dict(), alpha))
    torch.testing.assert_close(between(x), (1 - alpha) * a(x) + alpha * b(x), atol=1e-14, rtol=0)


def test_running_statistics_are_weights_and_counters_are_those_of_the_tuned_network() -> None:
    a, b = two(nn.BatchNorm1d, 4)
    for network, steps in ((a, 2), (b, 5)):
        for _ in range(steps):
            network(torch.randn(30, 4) * steps)
    found = interpolate(a.state_dict(), b.state_dict(), 0.25)
    assert int(found["num_batches_tracked"]) == 5
    for name in ("running_mean", "running_var", "weight"):
        torch.testing.assert_close(found[name], 0.75 * a.state_dict()[name] + 0.25 * b.state_dict()[name])
    found["num_batches_tracked"] += 1
    assert int(b.state_dict()["num_batches_tracked"]) == 5, "a copy, not the network's own"


def test_states_of_different_networks_are_refused() -> None:
    a, _ = two(nn.Linear, 3, 2)
    with pytest.raises(ValueError, match=r"different networks: \['weight'\]"):
        interpolate(a.state_dict(), nn.Linear(4, 2).state_dict(), 0.5)


def test_alpha_is_chosen_by_score_and_ties_stay_near_the_probe() -> None:
    assert choose_alpha(ALPHAS, [0.5] * 11) == 0
    assert choose_alpha([0.0, 0.3, 1.0], [0.1, 0.4, 0.4]) == 1
    with pytest.raises(ValueError, match="scores"):
        choose_alpha([0.0, 1.0], [0.1])


@pytest.mark.parametrize("grid", [[0.5], [0, 0.5], [0, 0.7, 0.3, 1], [0, 0, 1], [0, 1.5, 1]])
def test_a_grid_runs_from_the_probe_to_the_tuned_network(grid: list[float]) -> None:
    with pytest.raises(ValidationError, match="increase from 0 to 1"):
        TypeAdapter(Alphas).validate_python(grid)
