"""Spiking encoders: neurons, Legendre memory, the L2MU, its cost and its pruning; no files of neuromorphic tools.

The names below are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.encoders.spiking.cost import SpikeCost, spike_cost
    from imu_video.encoders.spiking.l2mu import L2MU, Activity
    from imu_video.encoders.spiking.legendre import legendre_memory, zero_order_hold
    from imu_video.encoders.spiking.neurons import Population, Synapses
    from imu_video.encoders.spiking.pruning import prune

__all__ = [
    "L2MU",
    "Activity",
    "Population",
    "SpikeCost",
    "Synapses",
    "legendre_memory",
    "prune",
    "spike_cost",
    "zero_order_hold",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "cost": ["SpikeCost", "spike_cost"],
        "l2mu": ["L2MU", "Activity"],
        "legendre": ["legendre_memory", "zero_order_hold"],
        "neurons": ["Population", "Synapses"],
        "pruning": ["prune"],
    },
)
