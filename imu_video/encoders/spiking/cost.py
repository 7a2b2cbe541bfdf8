"""Sparsity and operations of a spiking encoder on given windows; no energy, which depends on the hardware."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imu_video.encoders.spiking.l2mu import L2MU


@dataclass(frozen=True, kw_only=True)
class SpikeCost:
    """Cost of a spiking encoder per window, averaged over the windows that were measured.

    Args:
        windows: number of windows measured.
        steps: S, steps per window.
        neurons: number of spiking neurons.
        synapses: number of synapses with a weight other than zero, those of the frozen memory included.
        sparsity: share of silent neurons per step, in [0, 1], over all populations.
        populations: the same per population.
        synaptic_operations: additions of a weight to a membrane: one per spike and outgoing synapse.
        multiplications: multiply-accumulates with real-valued input (and with a memory without spikes).
        updates: updates of a membrane, each a multiplication and two additions: neurons times steps.
        dense_operations: multiply-accumulates of the same network computed as matrix products, as on a CPU.
    """

    windows: int
    steps: int
    neurons: int
    synapses: int
    sparsity: float
    populations: dict[str, float]
    synaptic_operations: float
    multiplications: float
    updates: float
    dense_operations: float


@torch.no_grad()
def spike_cost(encoder: L2MU, imu: Tensor, mask: Tensor | None = None) -> SpikeCost:
    """Count spikes and operations of an encoder on windows; they depend on the signal.

    A synaptic operation is counted for every spike and every synapse with a weight other than zero behind it (Merolla
    et al. 2014, doi 10.1126/science.1254642). The last step of a window has no effect through a loop.

    Args:
        encoder: the spiking encoder; evaluation or training mode makes no difference.
        imu: (B, C, T) normalised windows, B at least 1.
        mask: (B, C, T) bool, True where measured; None: all.

    Example:
        >>> cost = spike_cost(L2MU(), torch.randn(4, 6, 100, generator=torch.Generator().manual_seed(0)))
        >>> cost.steps, cost.neurons, 0 < cost.sparsity < 1, cost.synaptic_operations < cost.dense_operations
        (50, 416, True, True)
    """
    done = encoder.activity(imu, mask)
    trains = {"inputs": done.inputs, **done.spikes}
    spiking = encoder.populations()
    steps, batch = done.inputs.shape[:2]
    additions = multiplications = dense = 0.0
    synapses = 0
    for link in encoder.connections():
        there = (link.weight != 0).double()
        synapses += int(there.sum())
        train = trains[link.source][: steps - link.delay]
        dense += len(train) * float(there.numel() if link.synapses is not None else there.sum())
        if link.source in spiking:
            additions += float(train.double().sum((0, 1)) @ there.sum(0)) / batch
        else:
            multiplications += len(train) * float(there.sum())
    fired = {name: float(trains[name].double().mean()) for name in spiking}
    neurons = sum(part.size for part in spiking.values())
    return SpikeCost(
        windows=batch,
        steps=steps,
        neurons=neurons,
        synapses=synapses,
        sparsity=1 - sum(fired[name] * part.size for name, part in spiking.items()) / neurons,
        populations={name: 1 - share for name, share in fired.items()},
        synaptic_operations=additions,
        multiplications=multiplications,
        updates=float(neurons * steps),
        dense_operations=dense,
    )
