"""The L2MU in loops over neurons and steps, from its equations; the tests compare the encoder with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

Array = np.ndarray


def legendre(order: int, theta: float) -> tuple[Array, Array]:
    a, b = np.zeros((order, order)), np.zeros(order)
    for i in range(order):
        b[i] = (2 * i + 1) * (-1) ** i / theta
        for j in range(order):
            a[i, j] = (2 * i + 1) / theta * (-1 if i < j else (-1) ** (i - j + 1))
    return a, b


def hold(a: Array, b: Array) -> tuple[Array, Array]:
    """A' = sum_k A^k / k!, B' = sum_k A^k / (k + 1)! B, by their series on halved steps that are put together."""
    halvings = 12
    small = a / 2**halvings
    term, power, integral = np.eye(len(b)), np.eye(len(b)), np.eye(len(b))
    for k in range(1, 20):
        term = term @ small / k
        power = power + term
        integral = integral + term / (k + 1)
    matrix, vector = power, integral @ b / 2**halvings
    for _ in range(halvings):  # two steps of the same input are one of twice the length
        vector = matrix @ vector + vector
        matrix = matrix @ matrix
    return matrix, vector


class Neurons:
    """One population; all arithmetic in float32, in the order of the equations."""

    def __init__(self, state: Mapping[str, Array], name: str, reset: str) -> None:
        self.threshold, synapse = state[f"{name}.threshold"], state.get(f"{name}.synapse")
        self.leak = np.round(state[f"{name}.leak"] * 2**16) / np.float32(2**16)
        self.synapse = None if synapse is None else np.round(synapse * 2**16) / np.float32(2**16)
        self.reset = reset
        self.membrane, self.current, self.spikes = (np.zeros_like(self.leak) for _ in range(3))

    def step(self, current: Array) -> Array:
        for n in range(len(self.leak)):
            i = current[n]
            if self.synapse is not None:
                i = self.synapse[n] * self.current[n] + i
            u, fired = self.leak[n] * self.membrane[n], self.spikes[n]
            u = u * (1 - fired) + i if self.reset == "zero" else u + i - fired * self.threshold[n]
            self.current[n], self.membrane[n] = i, u
        self.spikes = (self.membrane > self.threshold).astype(np.float32)
        return self.spikes


def rounded(weights: Array) -> Array:
    return np.round(weights * 1024) / 1024


def weighted(weights: Array, inputs: Array) -> Array:
    """Weighted sums, one product after the other, in float64: exact for rounded weights."""
    out = np.zeros(len(weights))
    for i, row in enumerate(weights):
        for j, weight in enumerate(row):
            if inputs[j]:
                out[i] += float(weight) * float(inputs[j])
    return out


def run(
    state: Mapping[str, Array], steps: Array, *, order: int, theta: float, reset: str, spiking_memory: bool
) -> dict[str, Array]:
    """Spikes of every population and membrane potentials of h for one window of steps (S, C)."""
    layers = sum(key.endswith(".weight") and key.startswith("inputs.") for key in state)
    w = {k.removesuffix(".weight"): rounded(v) * state[k[:-6] + "kept"] for k, v in state.items() if k.endswith("ight")}
    a, b = (np.round(x * 2**20) / 2**20 for x in hold(*legendre(order, theta)))
    populations = {f"layers.{i}": Neurons(state, f"layers.{i}", reset) for i in range(layers)}
    populations |= {n: Neurons(state, n, reset) for n in ("u", "m", "h") if f"{n}.leak" in state}
    h, m = np.zeros(len(w["h_from_h"])), np.zeros(w["u_from_m"].shape[1])
    trains: dict[str, list[Array]] = {name: [] for name in (*populations, "m", "membrane")}
    for step in steps:
        x = step
        for i in range(layers):
            current = weighted(w[f"inputs.{i}"], x) + rounded(state[f"inputs.{i}.bias"])
            x = populations[f"layers.{i}"].step(current.astype(np.float32))
            trains[f"layers.{i}"].append(x)
        current = weighted(w["u_from_x"], x) + weighted(w["u_from_h"], h) + weighted(w["u_from_m"], m)
        u = populations["u"].step(current.astype(np.float32))
        after = np.zeros_like(m)
        for k in range(len(u)):
            part = slice(k * order, (k + 1) * order)
            after[part] = weighted(a, m[part]) + b * u[k]
        m = populations["m"].step(after.astype(np.float32)) if spiking_memory else after
        current = weighted(w["h_from_x"], x) + weighted(w["h_from_h"], h) + weighted(w["h_from_m"], m)
        h = populations["h"].step(current.astype(np.float32))
        for name, value in (("u", u), ("m", m), ("h", h), ("membrane", populations["h"].membrane.copy())):
            trains[name].append(value)
    return {name: np.array(train) for name, train in trains.items()}


def operations(state: Mapping[str, Array], trains: Mapping[str, Array], *, order: int, theta: float) -> int:
    """Synaptic operations of one window, by following every spike along its synapses."""
    layers = sum(name.startswith("layers.") for name in trains)
    w = {k[:-7]: rounded(v) * state[k[:-6] + "kept"] for k, v in state.items() if k.endswith(".weight")}
    a, b = (np.round(x * 2**20) / 2**20 for x in hold(*legendre(order, theta)))
    forward: dict[str, list[Array]] = {f"layers.{i}": [w[f"inputs.{i + 1}"]] for i in range(layers - 1)}
    forward[f"layers.{layers - 1}"] = [w["u_from_x"], w["h_from_x"]]
    forward |= {"m": [w["h_from_m"]], "u": [], "h": []}
    loops = {"h": [w["u_from_h"], w["h_from_h"]], "m": [w["u_from_m"]]}
    count = 0
    for name, matrices in forward.items():
        last = len(trains[name]) - 1
        for t, step in enumerate(trains[name]):
            for n in np.flatnonzero(step):
                later = loops.get(name, []) if t < last else []
                count += sum(int(np.count_nonzero(matrix[:, n])) for matrix in [*matrices, *later])
                if name == "u":
                    count += int(np.count_nonzero(b))
                if name == "m" and t < last:
                    count += int(np.count_nonzero(a[:, n % order]))
    return count


def differentiable(model: Any, imu: Any) -> tuple[Any, Any]:
    """Spikes and membrane potentials of h (S, B, H) by a loop over steps under autograd."""
    x = model.steps(model.filled(imu, None)[0])
    for synapses, neurons in zip(model.inputs, model.layers, strict=True):
        state, train = neurons.rest(x[0]), []
        for current in synapses(x):
            state = neurons(current, state)
            train.append(state.spikes)
        x = torch.stack(train)
    u, h = model.u.rest(x[0]), model.h.rest(x[0])
    memory = None if model.m is None else model.m.rest(x[0])
    m, states = x.new_zeros(x.shape[1], model.u.size * model.order), []
    for step in x:
        u = model.u(model.u_from_x(step) + model.u_from_h(h.spikes) + model.u_from_m(m), u)
        m = torch.einsum("ij,bkj->bki", model.memory_matrix, m.unflatten(1, (-1, model.order)))
        m = (m + u.spikes[..., None] * model.memory_vector).flatten(1)
        if memory is not None:
            memory = model.m(m, memory)
            m = memory.spikes
        h = model.h(model.h_from_x(step) + model.h_from_h(h.spikes) + model.h_from_m(m), h)
        states.append(h)
    return torch.stack([s.spikes for s in states]), torch.stack([s.membrane for s in states])
