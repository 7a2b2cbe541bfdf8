"""The L2MU as an encoder: neurons, gradients, batches, pruning, learning; its equations: tests/reference."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.encoders.spiking import L2MU, Population, prune, spike_cost
from imu_video.errors import ConfigError

SMALL = {"width": 16, "layers": 2, "memory": 8, "hidden": 16}


def windows(count: int, samples: int = 60, seed: int = 0) -> Tensor:
    return 2 * torch.randn(count, 6, samples, generator=torch.Generator().manual_seed(seed))


def _train(population: Population, current: float, steps: int) -> tuple[list[float], list[float]]:
    state, spikes, membranes = population.rest(torch.zeros(1, 1)), [], []
    with torch.no_grad():
        for _ in range(steps):
            state = population(torch.full((1, 1), current), state)
            spikes.append(state.spikes.item())
            membranes.append(state.membrane.item())
    return spikes, membranes


@pytest.mark.parametrize(("leak", "current"), [(0.9, 0.3), (0.8, 0.25), (0.5, 0.6), (0.0, 1.5)])
def test_a_constant_current_gives_the_period_of_the_formula(leak: float, current: float) -> None:
    """H3: reset to zero: the smallest n with I (1 - beta^n) / (1 - beta) > Theta; with subtraction: the balance."""
    leak = round(leak * 2**16) / 2**16
    spikes, _ = _train(Population(1, leak=leak, threshold=1.0, reset="zero"), current, 200)
    at = [i for i, fired in enumerate(spikes) if fired]
    period = next(n for n in range(1, 100) if current * (1 - leak**n) / (1 - leak) > 1)
    assert at[0] == period - 1
    assert {after - before for before, after in pairwise(at)} == {period}
    spikes, membranes = _train(Population(1, leak=leak, threshold=1.0), current, 400)
    # Summed over time: U_last = sum of currents - (1 - beta) (sum of U before) - (spikes before) Theta.
    balance = 400 * current - (1 - leak) * sum(membranes[:-1]) - sum(spikes[:-1])
    assert membranes[-1] == pytest.approx(balance, abs=1e-3)


def test_a_current_that_is_too_small_gives_no_spike() -> None:
    assert not any(_train(Population(1, leak=0.5, threshold=1.0), 0.49, 100)[0])


@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "arctan"])
def test_gradients_are_finite_over_128_steps_and_train_every_part(surrogate: str) -> None:
    """H3."""
    torch.manual_seed(0)
    model = L2MU(**SMALL, pool=1, surrogate=surrogate)  # type: ignore[arg-type]
    (model(windows(4, 128)) * torch.randn(4, 16)).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), key
        assert key == "missing" or parameter.grad.abs().sum() > 0, key


def test_features_do_not_depend_on_the_batch_in_any_bit() -> None:
    """H4: states are reset, and sums over spikes are exact."""
    torch.manual_seed(0)
    model, x = L2MU(**SMALL), windows(24)
    with torch.no_grad():
        together, order = model(x), torch.randperm(24)
        assert torch.equal(model(x[order]), together[order])
        assert torch.equal(torch.cat([model(row[None]) for row in x]), together)
        assert torch.equal(model(x), together)


def test_the_cost_follows_the_signal_and_pruning() -> None:
    """H4."""
    torch.manual_seed(0)
    model, x = L2MU(**SMALL), windows(8)
    cost, quiet = spike_cost(model, x), spike_cost(model, x / 4)
    assert all(0 < share < 1 for share in cost.populations.values())
    assert quiet.sparsity > cost.sparsity > 0
    assert quiet.synaptic_operations < cost.synaptic_operations < cost.dense_operations
    prune(model, 0.8)
    assert spike_cost(model, x).synapses < cost.synapses
    direct = L2MU(**{**SMALL, "layers": 0})
    for part in (direct.u_from_x, direct.h_from_x):
        part.weight.data.fill_(0.25)
    assert spike_cost(direct, x).multiplications == 30 * (8 + 16) * 6


def test_pruned_synapses_stay_pruned_in_training_and_files() -> None:
    """H5."""
    torch.manual_seed(0)
    model = L2MU(**SMALL)
    parts = {key: part for key, part in model.named_modules() if hasattr(part, "kept")}
    sizes = {key: part.weight.detach().abs().flatten() for key, part in parts.items()}
    remaining = prune(model, 0.5)
    assert remaining == sum(int(part.kept.sum()) for part in parts.values())
    for key, part in parts.items():
        size, kept = sizes[key], part.kept.flatten()
        assert int((~kept).sum()) == round(len(size) / 2)
        if "u_from_m" not in key:  # all zero before training
            assert size[~kept].max() <= size[kept].min()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
    before = copy.deepcopy(model.state_dict())
    for seed in range(3):
        optimiser.zero_grad()
        model(windows(4, seed=seed)).square().sum().backward()
        optimiser.step()
    for key, part in parts.items():
        assert not part.effective()[~part.kept].any(), key
        assert not part.weight[~part.kept].any(), key
        assert torch.equal(part.kept, before[f"{key}.kept"])
        assert not torch.equal(part.weight, before[f"{key}.weight"]) or "m" in key
    again = L2MU(**SMALL)
    again.load_state_dict(model.state_dict())
    x = windows(3)
    assert torch.equal(again(x), model(x))
    assert prune(again, 0.5) == remaining
    assert prune(again, 0.9) < remaining
    with pytest.raises(ConfigError, match=r"in \[0, 1\), got 1"):
        prune(model, 1.0)
    with pytest.raises(ConfigError, match="no spiking synapses"):
        prune(nn.Linear(2, 2), 0.5)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="input_neurons"):
        L2MU(input_neurons=(1.0, 0.5))
    with pytest.raises(ConfigError, match="decay factors"):
        Population(3, leak=1.0, threshold=0.5)


def tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three classes of frequency with random phase, amplitude and noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    frequency = torch.tensor([0.02, 0.06, 0.15])[labels][:, None, None]
    phase = 2 * math.pi * torch.rand(count, 3, 1, generator=draw)
    size = 0.7 + 0.6 * torch.rand(count, 1, 1, generator=draw)
    x = size * torch.sin(2 * math.pi * frequency * torch.arange(64) + phase)
    return x + 0.1 * torch.randn(x.shape, generator=draw), labels


@pytest.mark.slow
def test_it_learns_three_frequencies_in_twenty_epochs() -> None:
    """H6."""
    torch.manual_seed(0)
    model = L2MU(channels=3, pool=2, layers=1, width=24, memory=8, hidden=24, readout="spikes")
    head = nn.Linear(24, 3)
    x, y = tones(96, 0)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.01)
    for _ in range(20):
        for rows in torch.randperm(96).split(32):
            optimiser.zero_grad()
            F.cross_entropy(head(model(x[rows]) * 10), y[rows]).backward()
            optimiser.step()
    x, y = tones(150, 1)
    with torch.no_grad():
        assert (head(model(x) * 10).argmax(1) == y).float().mean() > 0.9
