"""The L2MU against its naive twin: matrices of the memory, spikes of every population, counted operations."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.encoders.spiking import L2MU, legendre_memory, prune, spike_cost, zero_order_hold


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


naive = _load("naive_l2mu")


@pytest.mark.parametrize(
    ("order", "theta", "radius"), [(8, 32.0, 0.864), (4, 7.0, 0.632), (7, 10.0, 0.645), (10, 20.0, 0.770)]
)
def test_the_memory_is_discretised_exactly_and_is_stable(order: int, theta: float, radius: float) -> None:
    """H1."""
    continuous = legendre_memory(order, theta)
    for ours, theirs in zip(continuous, naive.legendre(order, theta), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-14)
    a, b = zero_order_hold(*continuous)
    for ours, theirs in zip((a, b), naive.hold(*naive.legendre(order, theta)), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-9)
    assert np.abs(np.linalg.eigvals(a.numpy())).max() == pytest.approx(radius, abs=1e-3)
    model = L2MU(order=order, theta=theta, memory=2, hidden=4, width=4)
    assert (model.memory_matrix - a).abs().max() < 1e-6
    assert (model.memory_vector - b).abs().max() < 1e-6


@pytest.mark.parametrize(("order", "theta", "limit"), [(8, 32, 0.15), (4, 7, 0.15)])
def test_a_real_valued_memory_is_a_delay_line(order: int, theta: int, limit: float) -> None:
    """H2: the input half a memory ago, on noise below 1/20 of the sampling rate."""
    a, b = (x.numpy() for x in zero_order_hold(*legendre_memory(order, float(theta))))
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.normal(size=4096))
    spectrum[np.fft.rfftfreq(4096) > 1 / 20] = 0
    u = np.fft.irfft(spectrum)
    ages = np.polynomial.legendre.legval(0.0, np.eye(order))  # tau = theta / 2
    m, found = np.zeros(order), []
    for value in u:
        m = a @ m + b * value
        found.append(ages @ m)
    delay = theta / 2
    at = np.arange(200, 4096)
    expected = np.interp(at - delay, np.arange(4096), u)
    error = np.sqrt(np.mean((np.array(found)[at] - expected) ** 2)) / u.std()
    assert error < limit


OPTIONS: list[dict[str, Any]] = [
    {},
    {"neuron": "cuba"},
    {"reset": "zero"},
    {"spiking_memory": False},
    {"neuron": "cuba", "reset": "zero", "layers": 1},
]


def _made(**options: Any) -> tuple[L2MU, dict[str, np.ndarray]]:
    torch.manual_seed(3)
    model = L2MU(**{"width": 12, "layers": 2, "memory": 5, "hidden": 9, "pool": 1, **options})
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith(("leak", "threshold", "synapse")):
                value.mul_(torch.empty_like(value).uniform_(0.7, 1.05))
            elif "u_from_m" in key:
                value.normal_(0, 0.3)
    return model, {key: value.numpy() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_spikes_and_membranes_are_those_of_the_equations(options: dict[str, Any]) -> None:
    model, state = _made(**options)
    imu = 2 * torch.randn(2, 6, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, features = model.activity(imu), model(imu)
    for row in range(2):
        steps = np.round(imu[row].T.numpy() * 256) / 256
        settings = {"reset": options.get("reset", "subtract"), "spiking_memory": options.get("spiking_memory", True)}
        twin = naive.run(state, steps, order=4, theta=7.0, **settings)
        exact = settings["spiking_memory"]
        for name, train in ours.spikes.items():
            theirs = twin[name.replace("layer_", "layers.")]
            if exact:
                np.testing.assert_array_equal(train[:, row].numpy(), theirs, err_msg=name)
            else:
                np.testing.assert_allclose(train[:, row].numpy(), theirs, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(ours.membrane[:, row].numpy(), twin["membrane"], atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(features[row].numpy(), twin["membrane"].mean(0), atol=1e-4, rtol=1e-5)
        assert 0 < twin["h"].mean() < 1
        assert twin["m"].any()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_those_of_autograd(options: dict[str, Any]) -> None:
    model, _ = _made(**options)
    model.double()
    draw = torch.Generator().manual_seed(0)
    imu = (2 * torch.randn(3, 6, 20, generator=draw)).double().requires_grad_()
    weights = torch.randn(2, 20, 3, 9, generator=draw).double()
    gradients = []
    for spikes, membrane in (naive.differentiable(model, imu), _ours(model, imu)):
        model.zero_grad()
        imu.grad = None
        ((spikes * weights[0]).sum() + (membrane * weights[1]).sum()).backward()
        assert imu.grad is not None
        found = {key: value.grad.clone() for key, value in model.named_parameters() if key != "missing"}
        gradients.append(found | {"imu": imu.grad.clone()})
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-9, atol=1e-9, msg=key)
        assert expected.abs().sum() > 0, key


def _ours(model: L2MU, imu: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    done = model.activity(imu)
    return done.spikes["h"], done.membrane


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_operations_are_counted_spike_by_spike(share: float) -> None:
    model, _ = _made()
    prune(model, share)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    imu = 2 * torch.randn(1, 6, 30, generator=torch.Generator().manual_seed(1))
    cost = spike_cost(model, imu)
    steps = np.round(imu[0].T.numpy() * 256) / 256
    twin = naive.run(state, steps, order=4, theta=7.0, reset="subtract", spiking_memory=True)
    assert cost.synaptic_operations == naive.operations(state, twin, order=4, theta=7.0)
    assert cost.multiplications == 30 * np.count_nonzero(np.round(state["inputs.0.weight"] * 1024))
    fired = np.concatenate([train for name, train in twin.items() if name != "membrane"], axis=1)
    assert cost.sparsity == pytest.approx(1 - fired.mean())
