"""The spiking Legendre memory unit (L2MU) as an encoder; cost, pruning and files are in modules of their own."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count, Positive, Whole
from imu_video.encoders.layers.convolutional import TimeEncoder
from imu_video.encoders.layers.pooling import Pooling
from imu_video.encoders.spiking.legendre import legendre_memory, zero_order_hold
from imu_video.encoders.spiking.neurons import (
    INPUT_STEP,
    MEMORY_STEP,
    WEIGHT_STEP,
    Population,
    Reset,
    Surrogate,
    Synapses,
    rounded,
)
from imu_video.encoders.spiking.scan import CellWeights, run_cell, run_layer
from imu_video.registry import encoders

Leak = Annotated[float, Field(ge=0, lt=1)]
Neurons = tuple[Leak, Positive]
"""Initial decay factor in [0, 1) and initial threshold, above 0, of a population."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What a network did on some windows.

    Args:
        inputs: real-valued input per step.
        spikes: spikes of every population, 0 or 1; of a memory without spikes its real-valued state.
        membrane: membrane potential of the hidden population.

    Shapes: each (S, B, n), oldest step first.
    """

    inputs: Tensor
    spikes: dict[str, Tensor]
    membrane: Tensor


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Synapses from one population to another, as they act.

    Args:
        source: name of the population before: ``inputs``, ``layer_0`` ..., ``u``, ``m`` or ``h``.
        target: name of the population after.
        weight: weights (n after, n before); zero where there is no synapse.
        bias: constant current (n after), or None.
        delay: steps between a spike and its effect: 1 in a loop, else 0.
        synapses: the trained synapses; None for the frozen matrices of the memory.
    """

    source: str
    target: str
    weight: Tensor
    bias: Tensor | None = None
    delay: int = 0
    synapses: Synapses | None = None


@encoders.register("l2mu")
class L2MU(TimeEncoder):
    """Spiking Legendre memory unit: every element of the memory is a population of spiking neurons.

    Fra, Leto et al. 2024 (arXiv 2407.04076). Layers of neurons turn the averaged samples into spikes s_t. Then
    u_t = LIF(E_x s_t + E_h h_(t-1) + E_m m_(t-1)), m_t = LIF(A m_(t-1) + B u_t) and
    h_t = LIF(W_x s_t + W_h h_(t-1) + W_m m_t), with the frozen matrices A and B of a Legendre memory under zero-order
    hold. The memory feeds back spikes, so it is no linear delay line; ``spiking_memory: false`` makes it one.
    All states start at zero in every window. Weights are rounded (`imu_video.encoders.spiking.neurons`).

    Args:
        channels: C.
        pool: samples that are averaged to one step; 2 at 50 Hz. The oldest ``T % pool`` samples are not used.
        layers: layers of neurons before the memory, at least 0; 3. With 0 the memory receives the real-valued samples.
        width: neurons per layer; 64.
        memory: M, number of memories; 32.
        order: d, coefficients per memory, in [1, 64]; 4, as published for Braille letters; sensible 2 to 20.
        theta: length of a memory in steps, above 0; 7, as published. The matrices scale with 1 / theta: with a long
            memory its neurons do not reach their threshold unless that is lowered as well.
        hidden: H, neurons of the hidden state; 64.
        neuron: ``lif``, or ``cuba`` with a decaying synaptic current.
        synapse: initial decay factor of the current of ``cuba``, in [0, 1); 0.5.
        reset: ``subtract`` the threshold as published, or reset the membrane potential to ``zero``.
        spiking_memory: false: m_t = A m_(t-1) + B u_t, real-valued.
        surrogate: derivative of a spike in training, see `imu_video.encoders.spiking.neurons.spike`.
        slope: of that derivative, above 0; 10.
        input_neurons, memory_input, memory_neurons, hidden_neurons: initial decay factor, in [0, 1), and positive
            threshold of the layers, of u, m and h; the published ones of Braille reading for the latter three.
        readout: features are the ``membrane`` potentials of h, or its ``spikes``.
        pooling: ``mean`` over time; with ``spikes`` this is the firing rate. Also ``max``, ``mean_max``, ``last``.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, H); tokens (B, T // pool, H). Shorter windows are padded to ``pool`` samples.

    Example:
        >>> L2MU(hidden=16).feature_dim
        16
    """

    memory_matrix: Tensor
    memory_vector: Tensor

    def __init__(
        self,
        *,
        channels: Count = 6,
        pool: Count = 2,
        layers: Whole = 3,
        width: Count = 64,
        memory: Count = 32,
        order: Annotated[int, Field(ge=1, le=64)] = 4,
        theta: Positive = 7.0,
        hidden: Count = 64,
        neuron: Literal["lif", "cuba"] = "lif",
        synapse: BelowOne = 0.5,
        reset: Reset = "subtract",
        spiking_memory: bool = True,
        surrogate: Surrogate = "fast_sigmoid",
        slope: Positive = 10.0,
        input_neurons: Neurons = (0.8, 0.5),
        memory_input: Neurons = (0.8, 0.2),
        memory_neurons: Neurons = (0.2, 0.4),
        hidden_neurons: Neurons = (0.45, 0.65),
        readout: Literal["membrane", "spikes"] = "membrane",
        pooling: Pooling = "mean",
        segments: Count = 1,
    ) -> None:
        super().__init__(channels=channels, token_dim=hidden, least=pool, pooling=pooling, segments=segments)
        self.pool, self.order, self.theta, self.readout = pool, order, theta, readout

        def population(size: int, neurons: Neurons) -> Population:
            leak, threshold = neurons
            current = synapse if neuron == "cuba" else None
            return Population(
                size,
                leak=leak,
                threshold=threshold,
                synapse=current,
                reset=reset,
                surrogate=surrogate,
                slope=slope,
            )

        widths = [channels] + [width] * layers
        self.inputs = nn.ModuleList(Synapses(before, after, bias=True) for before, after in pairwise(widths))
        self.layers = nn.ModuleList(population(width, input_neurons) for _ in range(layers))
        self.u_from_x = Synapses(widths[-1], memory)
        self.u_from_h = Synapses(hidden, memory)
        self.u_from_m = Synapses(memory * order, memory, init="zeros")
        self.h_from_x = Synapses(widths[-1], hidden, init="xavier")
        self.h_from_h = Synapses(hidden, hidden, init="xavier")
        self.h_from_m = Synapses(memory * order, hidden, init="xavier")
        self.u = population(memory, memory_input)
        self.m = population(memory * order, memory_neurons) if spiking_memory else None
        self.h = population(hidden, hidden_neurons)
        a, b = (rounded(x, MEMORY_STEP).float() for x in zero_order_hold(*legendre_memory(order, theta)))
        # Not part of the state: `order` and `theta` determine them.
        self.register_buffer("memory_matrix", a, persistent=False)
        self.register_buffer("memory_vector", b, persistent=False)

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        done = self._run(x)
        out = done.spikes["h"] if self.readout == "spikes" else done.membrane
        return out.permute(1, 2, 0)

    def steps(self, x: Tensor) -> Tensor:
        """Samples averaged to steps and rounded. Shapes: (B, C, T) -> (S, B, C)."""
        count = x.shape[-1] // self.pool
        aligned = x[..., x.shape[-1] - count * self.pool :]
        return rounded(aligned.unflatten(-1, (count, self.pool)).mean(-1), INPUT_STEP).permute(2, 0, 1)

    def activity(self, imu: Tensor, mask: Tensor | None = None) -> Activity:
        """Spikes of all populations on normalised windows, see `Activity`. Shapes: (B, C, T), (B, C, T) bool."""
        return self._run(self.filled(imu, mask)[0])

    def _run(self, x: Tensor) -> Activity:
        # An exported graph has no autocast.
        whole = nullcontext() if torch.compiler.is_exporting() else torch.autocast(x.device.type, enabled=False)
        with whole:  # a membrane potential in bf16 has three digits
            inputs = self.steps(x if x.dtype == torch.float64 else x.float())
            spikes, train = {}, inputs
            for i, (synapses, neurons) in enumerate(zip(self.inputs, self.layers, strict=True)):
                assert isinstance(neurons, Population)
                train, _ = run_layer(neurons, synapses(train))
                spikes[f"layer_{i}"] = train
            u, m, h, membrane = run_cell(
                (self.u, self.m, self.h), self.u_from_x(train), self.h_from_x(train), self._weights()
            )
        return Activity(inputs=inputs, spikes=spikes | {"u": u, "m": m, "h": h}, membrane=membrane)

    def _weights(self) -> CellWeights:
        return CellWeights(
            to_u=torch.cat([self.u_from_h.effective(), self.u_from_m.effective()], dim=1).mT,
            h_to_h=self.h_from_h.effective().mT,
            m_to_h=self.h_from_m.effective().mT,
            matrix=self.memory_matrix.mT.to(self.h_from_h.weight.dtype),
            vector=self.memory_vector.to(self.h_from_h.weight.dtype),
        )

    def connections(self) -> list[Connection]:
        """All synapses, those of the frozen memory included, in a fixed order."""
        names = ["inputs", *(f"layer_{i}" for i in range(len(self.layers)))]
        trained: list[tuple[str, str, Synapses, int]] = [
            (before, after, synapses, 0)  # type: ignore[misc]
            for (before, after), synapses in zip(pairwise(names), self.inputs, strict=True)
        ]
        trained += [
            (names[-1], "u", self.u_from_x, 0),
            ("h", "u", self.u_from_h, 1),
            ("m", "u", self.u_from_m, 1),
            (names[-1], "h", self.h_from_x, 0),
            ("h", "h", self.h_from_h, 1),
            ("m", "h", self.h_from_m, 0),
        ]
        found = [
            Connection(
                source=source,
                target=target,
                weight=synapses.effective(),
                bias=None if synapses.bias is None else rounded(synapses.bias, WEIGHT_STEP),
                delay=delay,
                synapses=synapses,
            )
            for source, target, synapses, delay in trained
        ]
        each = torch.eye(self.u.size, device=self.memory_matrix.device)
        loop, write = torch.kron(each, self.memory_matrix), torch.kron(each, self.memory_vector[:, None])
        return [
            *found,
            Connection(source="u", target="m", weight=write),
            Connection(source="m", target="m", weight=loop, delay=1),
        ]

    def populations(self) -> dict[str, Population]:
        """Populations of neurons by name, in the order of computation; ``m`` is left out if it is real-valued."""
        found: dict[str, nn.Module | None] = {f"layer_{i}": layer for i, layer in enumerate(self.layers)}
        found |= {"u": self.u, "m": self.m, "h": self.h}
        return {name: part for name, part in found.items() if isinstance(part, Population)}
