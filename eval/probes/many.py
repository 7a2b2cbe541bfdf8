"""Many supports at once: linear probes of all episodes are solved as one batch of small problems, not in a loop.

A probe that fits linear scores derives from `LinearProbe` and implements `solve` for a stack of supports of one size;
one support is a stack of one, so both ways give the same numbers up to rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from eval.probes.base import Fitted, LinearScores, Probe, Scaling, check_support

_BYTES = 1 << 23
"""Stacked support features in memory at a time."""


@runtime_checkable
class Batched(Protocol):
    """A probe that fits many supports of one size at once."""

    def fit_many(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> list[LinearScores]: ...


class LinearProbe(ABC):
    """Base of probes whose scores are linear in the features.

    Args:
        scaling: ``standard``, ``center`` or ``none``, fitted on each support.
    """

    def __init__(self, *, scaling: Scaling = "standard") -> None:
        self.scaling = scaling

    @abstractmethod
    def solve(self, z: Tensor, y: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
        """Weights and biases of scores ``z W + b`` for scaled supports.

        Shapes: z (B, n, E) float64, y (B, n) int64 -> (B, E, M), (B, M).
        """

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit one support. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        return self.fit_many(x[None], y[None], classes=classes)[0]

    def fit_many(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> list[LinearScores]:
        """Fit supports of one size. Shapes: features (B, n, E), labels (B, n)."""
        x, y = torch.from_numpy(np.asarray(features, dtype=np.float64)), torch.from_numpy(labels)
        centre, factor = scaling_of_many(x, self.scaling)
        weight, bias = self.solve((x - centre) * factor, y, classes=classes)
        weight = factor.transpose(1, 2) * weight
        bias = bias - (centre @ weight)[:, 0]
        return [LinearScores(w, b) for w, b in zip(weight.numpy(), bias.numpy(), strict=True)]


def scaling_of_many(x: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """`eval.probes.base.scaling_of` of every support: centre and factor. Shapes: (B, n, E) -> two (B, 1, E)."""
    if scaling == "none":
        return torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])
    centre = x.mean(dim=1, keepdim=True)
    if scaling == "center":
        return centre, torch.ones_like(centre)
    spread = x.std(dim=1, keepdim=True, correction=0)
    alive = spread > 1e-6 * centre.abs().clamp(min=1.0)
    return centre, torch.where(alive, 1.0 / spread, 0.0)


def fit_supports(
    probe: Probe, features: np.ndarray, supports: Sequence[tuple[np.ndarray, np.ndarray]], *, classes: int
) -> list[Fitted]:
    """Fit a probe on every support, in batches where it can.

    Args:
        probe: any probe.
        features: (N, E).
        supports: rows of the features and their labels, one pair an episode.
        classes: M.

    Returns:
        A fitted probe an episode, in order.
    """
    if not isinstance(probe, Batched):
        return [probe.fit(features[rows], labels, classes=classes) for rows, labels in supports]
    out: list[Fitted | None] = [None] * len(supports)
    sizes = np.array([len(rows) for rows, _ in supports])
    for size in np.unique(sizes):
        numbers = np.flatnonzero(sizes == size)
        step = max(1, _BYTES // (8 * int(size) * features.shape[1]))
        for first in range(0, len(numbers), step):
            part = numbers[first : first + step]
            rows = np.stack([supports[i][0] for i in part])
            labels = np.stack([supports[i][1] for i in part]).astype(np.int64)
            x = features[rows].astype(np.float64)
            check_supports(x, labels, classes)
            for i, fitted in zip(part, probe.fit_many(x, labels, classes=classes), strict=True):
                out[i] = fitted
    return [fitted for fitted in out if fitted is not None]


def check_supports(x: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """`check_support` of every support of a stack, in one pass where all is well."""
    counts = np.zeros((len(labels), classes), dtype=np.int64)
    known = labels.min(initial=0) >= 0 and labels.max(initial=0) < classes
    if known:
        np.add.at(counts, (np.arange(len(labels))[:, None], labels), 1)
    if not known or not counts.all() or not np.isfinite(x.sum()):
        for one, its in zip(x, labels, strict=True):
            check_support(one, its, classes)
