"""Assignment of samples to batches as pure functions of (seed, epoch); independent of ranks, no data is read.

Every rank computes the same plan and takes its own rows: on any number of ranks no sample is lost or used twice,
resuming needs no state, and a run can continue an epoch with a different number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

_ORDER, _DEVICE, _MIX, _DRAW, _PAIRS, _SECOND = 0, 1, 2, 3, 4, 5  # separate random streams
_ROUNDS = 16  # attempts to draw a batch with replacement after dropping duplicates


def device_plan(present: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """The IMU device of each sample in one epoch, drawn uniformly from the devices that it has.

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
    return _drawn(present, _generator(seed, epoch, _DEVICE))


def second_device_plan(present: np.ndarray, first: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Another device of each sample, drawn uniformly from those that it has besides the first; the first if none.

    Args:
        present: (N, V) bool, at least one True in each row.
        first: (N,) positions on the device axis, as drawn by `device_plan`.
        seed: seed of the run, >= 0.
        epoch: epoch, >= 0.

    Returns:
        (N,) int64 positions on the device axis.

    Example:
        >>> second_device_plan(np.array([[True, True], [False, True]]), np.array([0, 1]), seed=0, epoch=0)
        array([1, 1])
    """
    others = present.copy()
    others[np.arange(len(first)), first] = False
    alone = ~others.any(axis=1)
    others[alone, first[alone]] = True
    return _drawn(others, _generator(seed, epoch, _SECOND))


def _drawn(present: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    counts = present.sum(axis=1)
    draw = (generator.random(len(present)) * counts).astype(np.int64)  # 0 <= draw < counts
    ranks = np.cumsum(present, axis=1)
    # argmax finds the first True: the device at which the count of present devices exceeds the draw.
    chosen: np.ndarray = np.argmax(ranks > draw[:, None], axis=1).astype(np.int64)
    return chosen


def partners(samples: int, *, seed: int, epoch: int = 0) -> np.ndarray:
    """A random cycle through all samples: maps each sample to a different one.

    Args:
        samples: N >= 2.
        seed, epoch: determine the result, so that it is equal on every rank and after a resume.

    Returns:
        (N,) int64, a permutation without a fixed point.

    Raises:
        ValueError: fewer than two samples.

    Example:
        >>> found = partners(4, seed=0)
        >>> sorted(found.tolist()), bool((found == np.arange(4)).any())
        ([0, 1, 2, 3], False)
    """
    if samples < 2:
        raise ValueError(f"{samples} samples: mismatched pairs require at least two")
    around = _generator(seed, epoch, _PAIRS).permutation(samples)
    out = np.empty(samples, np.int64)
    # A single cycle has no fixed point, in contrast to 63 % of all permutations of many samples.
    out[around] = np.roll(around, 1)
    return out


def quotas(sizes: Sequence[int], weights: Sequence[float] | None) -> list[int]:
    """Rows of each dataset in one epoch of a mixture.

    Without weights an epoch is one pass over all datasets. With weights it is one pass over the first dataset, the
    reference; the others have ``n_0 w_i / w_0`` rows, rounded, at least one.

    Args:
        sizes: samples of each dataset, >= 1.
        weights: relative shares of each, > 0.

    Raises:
        ValueError: another number of weights, or one that is not positive.

    Example:
        >>> quotas([100, 1000], None), quotas([100, 1000], [2, 1])
        ([100, 1000], [100, 50])
    """
    if weights is None:
        return list(sizes)
    if len(weights) != len(sizes) or not all(0 < w < float("inf") for w in weights):
        raise ValueError(f"{len(sizes)} datasets need as many positive weights, got {list(weights)}")
    return [sizes[0], *(max(1, round(sizes[0] * w / weights[0])) for w in weights[1:])]


class Plan:
    """The samples of each batch, as a pure function of (seed, step) that is independent of ranks and workers.

    Samples of several datasets are numbered consecutively. ``sampling="once"``: an epoch contains every sample of a
    dataset without weights, or of the reference, exactly once; a weighted dataset is read in shuffled passes that
    continue across epochs, so that the counts of its samples differ by at most one.
    ``sampling="replacement"``: every batch is drawn independently from all samples by weight, without duplicates.

    Args:
        sizes: samples of each dataset, >= 1.
        batch_size: rows of the global batch, 1 .. rows of an epoch.
        seed: seed of the run, >= 0.
        weights: share of each dataset (see `quotas`); with ``replacement``, of each batch on average.
        sampling: ``once`` or ``replacement``.
        leftover: use of the rows that do not fill a batch: ``drop``: they are skipped, different ones in each epoch;
            ``carry``: they begin the first batch of the next epoch, so that no row is skipped.
        chances: with ``replacement``, (N,) relative probability of each sample in its dataset, > 0; None: equal.
        groups: (N,) group of each sample, such as its subject; every batch has the same number of samples of each of
            ``per_batch`` groups. ``once``: the samples of a group are cut into pieces in random order, the rest of a
            piece is skipped, and groups with many samples are in more batches. ``replacement``: all groups take turns
            in random order, and samples are drawn within a group. None: batches mix all samples.
        per_batch: groups in a batch, at least 1; divides the batch size.

    Attributes:
        epoch_rows: rows of one epoch.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> plan = Plan(sizes=[6, 100], weights=[1, 1], batch_size=4, seed=0)
        >>> rows = [row for step in range(plan.steps(1)) for _, part in plan.batch(step) for row in part.tolist()]
        >>> len(rows), sorted(row for row in rows if row < 6)
        (12, [0, 1, 2, 3, 4, 5])
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int],
        batch_size: int,
        seed: int,
        weights: Sequence[float] | None = None,
        sampling: Literal["once", "replacement"] = "once",
        leftover: Literal["drop", "carry"] = "drop",
        chances: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        per_batch: int = 1,
    ) -> None:
        self.sizes, self.weights = list(sizes), weights
        self.batch_size, self.seed, self.carry = batch_size, seed, leftover == "carry"
        if min(sizes) < 1 or sampling not in ("once", "replacement") or leftover not in ("drop", "carry") or seed < 0:
            raise ValueError(f"sizes {self.sizes}, sampling {sampling!r}, leftover {leftover!r}, seed {seed}")
        self._quotas = quotas(sizes, weights)
        self.epoch_rows = sum(self._quotas if sampling == "once" else sizes)
        if not 1 <= batch_size <= self.epoch_rows:
            raise ValueError(f"{self.epoch_rows} samples do not fill one batch of {batch_size}")
        # `_joined` exchanges rows with the two batches after the first one, and these must not be the last batch.
        if self.carry and sampling == "once" and self.epoch_rows < 4 * batch_size:
            raise ValueError(f"leftover 'carry' requires 4 batches per epoch, {self.epoch_rows} samples give fewer")
        self._cumulative = None
        if sampling == "replacement":
            self._cumulative = np.cumsum(self._chances(np.ones(sum(sizes)) if chances is None else chances))
        self._groups = None
        if groups is not None:
            if weights is not None or self.carry:
                raise ValueError("batches of few groups cannot be combined with weights of datasets or carried rows")
            self._groups = _Groups(groups, batch_size=batch_size, per_batch=per_batch)
            self.epoch_rows = batch_size * self._groups.batches(once=sampling == "once")
        # A carried batch belongs to two epochs, and the exchange of rows reads the epoch before: three orders are in
        # use.
        self._order = lru_cache(3)(self._epoch_order)

    @property
    def repeats(self) -> bool:
        """Whether a sample may occur twice in a batch: a weighted dataset is read more than once per epoch."""
        return self._cumulative is None and any(q > n for q, n in zip(self._quotas, self.sizes, strict=True))

    def steps(self, epochs: int) -> int:
        """Number of full batches in the given number of epochs."""
        if self.carry and self._cumulative is None:
            return epochs * self.epoch_rows // self.batch_size
        return epochs * (self.epoch_rows // self.batch_size)

    def epochs(self, batches: int) -> int:
        """Number of epochs that the first full batches complete: the inverse of `steps`."""
        if self.carry and self._cumulative is None:
            return ((batches + 1) * self.batch_size - 1) // self.epoch_rows
        return batches // (self.epoch_rows // self.batch_size)

    def batch(self, step: int) -> list[tuple[int, np.ndarray]]:
        """The global batch of a step: B int64 sample numbers in total, grouped by epoch.

        Raises:
            ValueError: a negative step.
        """
        if step < 0:
            raise ValueError(f"step must not be negative, got {step}")
        per_epoch = self.epoch_rows // self.batch_size
        if self._groups is not None and self._cumulative is not None:
            epoch, place = divmod(step, per_epoch)
            turn = _generator(self.seed, epoch, _ORDER).permutation(self._groups.count)
            drawn = _generator(self.seed, step, _DRAW)
            return [(epoch, self._groups.drawn(turn, place, np.diff(self._cumulative, prepend=0.0), drawn))]
        if self._cumulative is not None:
            # Each step has a generator of its own, so that a resumed run need not repeat the draws of earlier steps.
            return [(step // per_epoch, _draw(self._cumulative, self.batch_size, _generator(self.seed, step, _DRAW)))]
        if not self.carry:
            first = step % per_epoch * self.batch_size
            return [(step // per_epoch, self._order(step // per_epoch)[first : first + self.batch_size])]
        epoch, first = divmod(step * self.batch_size, self.epoch_rows)
        rows = self._joined(epoch)[first : first + self.batch_size]
        if len(rows) == self.batch_size:
            return [(epoch, rows)]
        return [(epoch, rows), (epoch + 1, self._joined(epoch + 1)[: self.batch_size - len(rows)])]

    def _chances(self, chances: np.ndarray) -> np.ndarray:
        """(N,) chance of every sample: its dataset's share times its own within the dataset."""
        total = sum(self.sizes)
        if chances.shape != (total,) or not (np.isfinite(chances) & (chances > 0)).all():
            raise ValueError(f"chances must be {total} positive numbers")
        shares = self.sizes if self.weights is None else self.weights
        parts = np.split(chances.astype(np.float64), np.cumsum(self.sizes)[:-1])
        return np.concatenate(
            [part / part.sum() * share / sum(shares) for part, share in zip(parts, shares, strict=True)]
        )

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._groups is not None:
            return self._groups.order(_generator(self.seed, epoch, _ORDER))
        if self.weights is None:
            return _generator(self.seed, epoch, _ORDER).permutation(self.epoch_rows).astype(np.int64)
        starts = np.cumsum([0, *self.sizes[:-1]])
        rows = [
            start + self._walk(number, epoch * quota, quota)
            for number, (start, quota) in enumerate(zip(starts, self._quotas, strict=True))
        ]
        mixed: np.ndarray = _generator(self.seed, epoch, _MIX).permutation(np.concatenate(rows))
        return mixed.astype(np.int64)

    def _walk(self, number: int, start: int, count: int) -> np.ndarray:
        """``count`` samples of one dataset from position ``start`` of its infinite sequence of shuffled passes."""
        size = self.sizes[number]
        first, last = start // size, (start + count - 1) // size
        # The number of the dataset is part of the seed; datasets of one size would have the same order otherwise.
        passes = [
            np.random.default_rng([self.seed, turn, _ORDER, number + 1]).permutation(size)
            for turn in range(first, last + 1)
        ]
        return np.concatenate(passes)[start - first * size :][:count]

    def _joined(self, epoch: int) -> np.ndarray:
        """Order of an epoch whose first batch has no sample of the previous epoch's last batch.

        Such samples are exchanged with the ones that follow the first batch; the exchange never reaches the last batch.
        """
        order = self._order(epoch)
        if epoch == 0:
            return order
        size = self.batch_size
        twice = np.flatnonzero(np.isin(order[:size], self._order(epoch - 1)[-size:]))
        if not len(twice):
            return order
        # At most B of these 2 B rows are in the previous epoch's last batch, so there are always enough to exchange.
        others = size + np.flatnonzero(~np.isin(order[size : 3 * size], self._order(epoch - 1)[-size:]))[: len(twice)]
        order = order.copy()
        order[twice], order[others] = order[others], order[twice]
        return order


class _Groups:
    """Batches with the same number of samples of each of a few groups.

    Args:
        groups: (N,) group of each sample.
        batch_size: rows of a batch.
        per_batch: groups in a batch.

    Raises:
        ValueError: fewer groups, or groups with fewer samples, than a batch needs.
    """

    def __init__(self, groups: np.ndarray, *, batch_size: int, per_batch: int) -> None:
        names, counts = np.unique(groups, return_counts=True)
        if per_batch < 1 or batch_size % per_batch:
            raise ValueError(f"a batch of {batch_size} cannot hold the same number of samples of {per_batch} groups")
        self.size, self.per_batch = batch_size // per_batch, per_batch
        enough = int((counts >= self.size).sum())
        if enough < len(counts) or enough < per_batch:
            raise ValueError(
                f"a batch needs {self.size} samples of each of {per_batch} groups; {enough} of {len(counts)} groups "
                f"have that many, the smallest has {counts.min()}"
            )
        self.count = len(names)
        self.members = [np.flatnonzero(groups == name).astype(np.int64) for name in names]
        # Taking the groups with most pieces left gives as many batches as possible of different groups.
        self._turns: list[np.ndarray] = []
        left = counts // self.size
        while (left > 0).sum() >= per_batch:
            chosen = np.argsort(-left, kind="stable")[:per_batch]
            left[chosen] -= 1
            self._turns.append(chosen)

    def batches(self, *, once: bool) -> int:
        """Batches of one epoch."""
        return len(self._turns) if once else self.count // self.per_batch

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """Samples of an epoch, each at most once, batch after batch."""
        shuffled = [generator.permutation(rows) for rows in self.members]
        taken = [0] * self.count
        batches = []
        for turn in self._turns:
            parts = []
            for group in turn.tolist():
                parts.append(shuffled[group][taken[group] : taken[group] + self.size])
                taken[group] += self.size
            batches.append(np.concatenate(parts))
        return np.concatenate([batches[number] for number in generator.permutation(len(batches))])

    def drawn(self, turn: np.ndarray, place: int, chances: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Samples of one batch, drawn by their chances within the groups whose turn it is."""
        chosen = turn[place * self.per_batch : (place + 1) * self.per_batch].tolist()
        rows = [self.members[group] for group in chosen]
        return np.concatenate([part[_draw(np.cumsum(chances[part]), self.size, generator)] for part in rows])


def _draw(cumulative: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` distinct numbers, drawn one after another by weight without replacement."""
    chosen = np.zeros(0, np.int64)
    for _ in range(_ROUNDS):
        drawn = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side="right")
        # Rounding can place a draw at the end of the cumulative sum, one past the last number.
        together = np.concatenate([chosen, np.minimum(drawn, len(cumulative) - 1)])
        # Repetitions are dropped in the order of the draws: in numerical order, the cut to `count` would be biased.
        chosen = together[np.sort(np.unique(together, return_index=True)[1])]
        if len(chosen) >= count:
            return chosen[:count]
    # If few numbers remain, rejection is slow: exponential waiting times with the weights as rates have the same order.
    waiting = generator.exponential(size=len(cumulative)) / np.diff(cumulative, prepend=0.0)
    waiting[chosen] = np.inf
    return np.concatenate([chosen, np.argsort(waiting, kind="stable")[: count - len(chosen)]])


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed and epoch must not be negative, got {seed} and {epoch}")
    return np.random.default_rng([seed, epoch, stream])
