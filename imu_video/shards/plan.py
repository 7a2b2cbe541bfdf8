"""Which samples form which batch, as pure functions of (seed, epoch); nothing here reads data or knows a rank.

Because a plan does not depend on the world, every rank computes the same one and takes its own rows: no sample is lost
or seen twice on any number of ranks, resuming is arithmetic, and another number of ranks continues the same epoch.
"""

from __future__ import annotations

import numpy as np

_ORDER, _DEVICE = 0, 1  # separate random streams


def steps_in_epoch(samples: int, batch_size: int) -> int:
    """Full batches in one pass.

    Example:
        >>> steps_in_epoch(10, 4)
        2
    """
    return samples // batch_size


def epoch_plan(samples: int, *, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Sample numbers of every global batch of one epoch.

    A permutation drawn for (seed, epoch), cut into full batches; the ``samples % batch_size`` left over sit out, other
    ones in each epoch.

    Args:
        samples: number of samples N, >= batch_size.
        batch_size: rows of the global batch, over all ranks, >= 1.
        seed: seed of the run, >= 0.
        epoch: epoch, >= 0.

    Returns:
        (steps, batch_size) int64: each number below ``samples`` at most once.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> epoch_plan(10, batch_size=4, seed=0, epoch=0).shape
        (2, 4)
    """
    if batch_size < 1 or samples < batch_size:
        raise ValueError(f"{samples} samples do not fill one batch of {batch_size}")
    steps = steps_in_epoch(samples, batch_size)
    order = _generator(seed, epoch, _ORDER).permutation(samples)
    plan: np.ndarray = order[: steps * batch_size].reshape(steps, batch_size).astype(np.int64)
    return plan


def device_plan(present: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """The IMU device that each sample shows in one epoch, drawn evenly among those it has.

    Args:
        present: (N, V) bool, at least one True in each row.
        seed: seed of the run, >= 0.
        epoch: epoch, >= 0.

    Returns:
        (N,) int64 positions on the device axis.

    Raises:
        ValueError: a row without a device, or an argument outside its range.

    Example:
        >>> device_plan(np.array([[True, False], [False, True]]), seed=0, epoch=3)
        array([0, 1])
    """
    counts = present.sum(axis=1)
    if (counts == 0).any():
        raise ValueError(f"sample {int(np.argmin(counts))} has no device to draw from")
    draw = (_generator(seed, epoch, _DEVICE).random(len(present)) * counts).astype(np.int64)  # 0 <= draw < counts
    ranks = np.cumsum(present, axis=1)
    chosen: np.ndarray = np.argmax(ranks > draw[:, None], axis=1).astype(np.int64)
    return chosen


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed and epoch must not be negative, got {seed} and {epoch}")
    return np.random.default_rng([seed, epoch, stream])
