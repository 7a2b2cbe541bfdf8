"""Trains the members of a limited-label method and averages what they say; which labels there are is settled before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from eval.network import Network, NetworkConfig, member_seeds, train_network

if TYPE_CHECKING:
    from eval.labels import People

CHECKS = 10
"""How often during a training the people of `choose` are asked."""


def train_members(
    make: Callable[[int], Network],
    people: People,
    imu: Tensor,
    mask: Tensor,
    *,
    targets: np.ndarray,
    rows: np.ndarray,
    config: NetworkConfig,
    seed: int,
    extra: Tensor | None = None,
    names: Sequence[str] = ("",),
) -> dict[str, np.ndarray]:
    """Counts of an ensemble after the last step and, where people are there to choose on, after its best step.

    Args:
        make: builds an untrained member from its seed; the global random state is restored afterwards.
        people: pool, people to choose on, people who are asked.
        imu, mask: (N, C, T) all windows in SI units, and where they are measured.
        targets: (n, M) soft labels.
        rows: (n,) places in the pool that they belong to.
        config: schedule; `members` networks are trained.
        seed: of the first member; the others' follow from it.
        extra: (N, ...) what the networks see beside the IMU.
        names: suffixes of the keys, one a head of the networks.

    Shapes: -> ``counts``, ``chosen`` (S, M, M), ``step`` (), each with every suffix.
    """
    pool, test, choose = (torch.from_numpy(r) for r in (people.pool[rows], people.test, people.choose))
    said: dict[tuple[int, str], np.ndarray] = {}  # summed over members: (H, rows, M)
    for own in member_seeds(seed, config.members):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            network = make(own)

        def ask(step: int, network: Network = network) -> None:
            for group, asked in (("choose", choose), ("test", test)):
                if len(asked):
                    out = network.probabilities(imu[asked], mask[asked], None if extra is None else extra[asked])
                    said[step, group] = said.get((step, group), 0) + out.reshape(len(names), len(asked), -1)

        steps = config.steps_for(len(rows))
        train_network(
            network,
            imu[pool],
            mask[pool],
            torch.from_numpy(targets).float(),
            config=config,
            seed=own,
            extra=None if extra is None else extra[pool],
            watch=ask if len(choose) else None,
            watch_every=max(1, steps // CHECKS),
        )
        if not len(choose) or steps % max(1, steps // CHECKS):
            ask(steps)
    out: dict[str, np.ndarray] = {}
    truth = people.truth(people.choose)
    for head, name in enumerate(names):
        out[f"counts{name}"] = people.counts(said[steps, "test"][head].argmax(axis=1))
        if len(choose):
            # Members are averaged at the same step; the earliest of equally good steps is taken.
            right = {s: (p[head].argmax(axis=1) == truth).sum() for (s, group), p in said.items() if group == "choose"}
            step = max(right, key=lambda s: (int(right[s]), -s))
            out[f"chosen{name}"] = people.counts(said[step, "test"][head].argmax(axis=1))
            out[f"step{name}"] = np.array(step)
    return out
