"""Trains the members of a limited-label method and averages what they say; which labels there are is settled before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from eval.finetune.config import ALPHAS, NetworkConfig
from eval.finetune.network import Network, member_seeds, train_network
from eval.finetune.wise import interpolate
from eval.protocols.limited_labels.subjects import Groups

CHECKS = 10
"""How often during a training the people of `choose` are asked."""
FIXED_ALPHA = 0.5
"""Between probe and tuned network where nobody is there to choose on, as Wortsman et al. 2022 advise."""


def train_members(
    make: Callable[[int], Network],
    groups: Groups,
    imu: Tensor,
    mask: Tensor,
    *,
    targets: np.ndarray,
    rows: np.ndarray,
    linear: NetworkConfig | None,
    tuned: NetworkConfig | None,
    alphas: Sequence[float] = ALPHAS,
    seed: int,
    extra: Tensor | None = None,
    names: Sequence[str] = ("",),
) -> dict[str, np.ndarray]:
    """Counts of an ensemble at a moment fixed beforehand and, where people are there to choose on, at its best moment.

    Moments are steps of the one training, the last one being fixed. Where there are two, the linear head and what is
    tuned from it, moments are the alphas between them (`eval.finetune.wise`), and 0.5 is fixed.

    Args:
        make: builds an untrained member from its seed; the global random state is restored afterwards.
        people: pool, people to choose on, people who are asked.
        imu, mask: (N, C, T) all windows in SI units, and where they are measured.
        targets: (n, M) soft labels.
        rows: (n,) places in the pool that they belong to.
        linear: schedule of a linear head on frozen encoders; None: not.
        tuned: schedule of everything, from there or from the start; None: not.
        alphas: grid between the two.
        seed: of the first member; the others' follow from it.
        extra: (N, ...) what the networks see beside the IMU.
        names: suffixes of the keys, one a head of the networks.

    Shapes: -> ``counts``, ``chosen`` (S, M, M), ``bins`` (S, B, 3), ``step`` or ``alpha`` (), each with every suffix;
        between two trainings ``alphas`` (A,), ``by_alpha`` (A, S, M, M) and ``on_choose`` (A,), the accuracy there.
    """
    pool, test, choose = (torch.from_numpy(r) for r in (groups.pool[rows], groups.test, groups.choose))
    last = tuned or linear
    assert last is not None
    said: dict[tuple[float, str], np.ndarray] = {}  # mean over members: (H, rows, M)
    steps = last.steps_for(len(rows))
    between = sorted({*alphas, FIXED_ALPHA}) if linear and tuned else []
    for own in member_seeds(seed, last.members):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            network = make(own)

        def ask(moment: float, network: Network = network) -> None:
            for group, asked in (("choose", choose), ("test", test)):
                if len(asked):
                    out = network.probabilities(imu[asked], mask[asked], None if extra is None else extra[asked])
                    said[moment, group] = (
                        said.get((moment, group), 0) + out.reshape(len(names), len(asked), -1) / last.members
                    )

        ends = []
        for config, frozen in ((linear, True), (tuned, False)):
            if config is not None:
                network.freeze(frozen)
                train_network(
                    network,
                    imu[pool],
                    mask[pool],
                    torch.from_numpy(targets).float(),
                    config=config,
                    seed=own,
                    extra=None if extra is None else extra[pool],
                    watch=ask if len(choose) and not between else None,
                    watch_every=max(1, steps // CHECKS),
                )
                ends.append({name: value.clone() for name, value in network.state_dict().items()})
        if not between and (not len(choose) or steps % max(1, steps // CHECKS)):
            ask(steps)  # else the last step was watched
        for alpha in between:
            network.load_state_dict(interpolate(ends[0], ends[1], alpha))
            ask(alpha)
    fixed = FIXED_ALPHA if between else steps
    out: dict[str, np.ndarray] = {}
    truth = groups.truth(groups.choose)
    for head, name in enumerate(names):
        counts = {m: groups.counts(p[head].argmax(axis=1)) for (m, group), p in said.items() if group == "test"}
        out[f"counts{name}"] = counts[fixed]
        out[f"bins{name}"] = groups.bins(said[fixed, "test"][head], "share")
        # Members are averaged at the same moment; of equally good moments the earliest is taken, or the smallest alpha.
        right = {m: (p[head].argmax(axis=1) == truth).mean() for (m, group), p in said.items() if group == "choose"}
        if right:
            best = max(right, key=lambda m: (float(right[m]), -m))
            out |= {f"chosen{name}": counts[best], f"{'alpha' if between else 'step'}{name}": np.array(best)}
        if between:
            out |= {f"alphas{name}": np.array(between), f"by_alpha{name}": np.stack([counts[a] for a in between])}
            out |= {f"on_choose{name}": np.array([right[a] for a in between])} if right else {}
    return out
