"""Trains the members of a limited-label method and averages their probabilities; labels are drawn elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from eval.finetune.config import ALPHAS, NetworkConfig
from eval.finetune.network import Network, member_seeds, train_network
from eval.finetune.wise import interpolate
from eval.protocols.limited_labels.subjects import Groups

FIXED_ALPHA = 0.5
"""Alpha between probe and tuned network without validation subjects, as Wortsman et al. 2022 recommend."""


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
    choose: np.ndarray | None = None,
    checks: int | Literal["epoch"] = 10,
    extra: Tensor | None = None,
    names: Sequence[str] = ("",),
) -> dict[str, np.ndarray]:
    """Counts of an ensemble at a moment fixed beforehand and, with validation subjects, at its best moment.

    With one training, moments are its steps and the last step is the fixed one. With two (a linear head, and the
    network tuned from it), moments are the alphas between them (`eval.finetune.wise`) and 0.5 is the fixed one.

    Args:
        make: builds an untrained member from its seed; the global random state is restored afterwards.
        groups: pool, validation and test windows.
        imu, mask: (N, C, T) all windows in SI units, and where samples are measured.
        targets: (n, M) soft labels.
        rows: (n,) indices into the pool that they belong to.
        linear: schedule of a linear head on frozen encoders; None to skip it.
        tuned: schedule of the whole network, after the linear head if any; None to skip it.
        alphas: grid between the two.
        seed: seed of the first member; the others' seeds are derived from it.
        choose: rows of validation windows; None for those of ``groups``.
        checks: evaluations on them during one training; ``epoch``: one per epoch.
        extra: (N, ...) further inputs of the networks.
        names: suffixes of the keys, one per head of the networks.

    Shapes: -> ``counts``, ``chosen`` (S, M, M), ``bins`` (S, B, 3), ``step`` or ``alpha`` (), each with every suffix;
        between two trainings ``alphas`` (A,), ``by_alpha`` (A, S, M, M) and ``on_choose`` (A,), the accuracy there.
    """
    validation = groups.choose if choose is None else choose
    pool, test, chosen = (torch.from_numpy(r) for r in (groups.pool[rows], groups.test, validation))
    last = tuned or linear
    assert last is not None
    mean: dict[tuple[float, str], np.ndarray] = {}  # probabilities, mean over members: (H, rows, M)
    steps = last.steps_for(len(rows))
    every = max(1, steps // (checks if isinstance(checks, int) else last.epochs or 1))
    between = sorted({*alphas, FIXED_ALPHA}) if linear and tuned else []
    for own in member_seeds(seed, last.members):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            network = make(own)

        def evaluate(moment: float, network: Network = network) -> None:
            for group, queries in (("choose", chosen), ("test", test)):
                if len(queries):
                    out = network.probabilities(imu[queries], mask[queries], None if extra is None else extra[queries])
                    mean[moment, group] = (
                        mean.get((moment, group), 0) + out.reshape(len(names), len(queries), -1) / last.members
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
                    watch=evaluate if len(chosen) and not between else None,
                    watch_every=every,
                )
                ends.append({name: value.clone() for name, value in network.state_dict().items()})
        if not between and (not len(chosen) or steps % every):
            evaluate(steps)  # otherwise the last step was evaluated during training
        for alpha in between:
            network.load_state_dict(interpolate(ends[0], ends[1], alpha))
            evaluate(alpha)
    fixed = FIXED_ALPHA if between else steps
    out: dict[str, np.ndarray] = {}
    truth = groups.truth(validation)
    for head, name in enumerate(names):
        counts = {m: groups.counts(p[head].argmax(axis=1)) for (m, group), p in mean.items() if group == "test"}
        out[f"counts{name}"] = counts[fixed]
        out[f"bins{name}"] = groups.bins(mean[fixed, "test"][head], "share")
        # Members are averaged at the same moment; ties go to the earliest step or the smallest alpha.
        accuracy = {m: (p[head].argmax(axis=1) == truth).mean() for (m, group), p in mean.items() if group == "choose"}
        if accuracy:
            best = max(accuracy, key=lambda m: (float(accuracy[m]), -m))
            out |= {f"chosen{name}": counts[best], f"{'alpha' if between else 'step'}{name}": np.array(best)}
        if between:
            out |= {f"alphas{name}": np.array(between), f"by_alpha{name}": np.stack([counts[a] for a in between])}
            out |= {f"on_choose{name}": np.array([accuracy[a] for a in between])} if accuracy else {}
    return out
