"""Many supports at once: linear probes of all episodes are solved as one batch of small problems, not in a loop.

A support has far fewer windows than features, so its solution lies in the span of its windows: with Z the centred and
scaled support (n, E), weights are ``Z^T A`` and the problem is one about K = Z Z^T (n, n). A probe that fits linear
scores derives from `LinearProbe` and finds A for a stack of kernels; one support is a stack of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.probes.base import Fitted, LinearScores, Probe, Scaling, check_support, working_dtype

_BYTES, _CACHED = 1 << 22, 1 << 20
"""Stacked support features in memory at a time, and so many of them as stay in a core's cache while they are scaled."""


@runtime_checkable
class Batched(Protocol):
    """A probe that fits many supports of one size at once.

    Shapes:
        features (B, n, E), its to overwrite, labels (B, n).
    """

    def fit_many(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> list[LinearScores]: ...


class LinearProbe(ABC):
    """Base of probes whose scores are linear in the features, with offsets that are not penalised.

    Args:
        scaling: ``standard`` or ``center``, fitted on each support; ``none`` is the same as ``center``, since offsets
            are free.
    """

    def __init__(self, *, scaling: Scaling = "standard") -> None:
        self.scaling = scaling

    @abstractmethod
    def solve(self, kernel: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """A and b of scores ``A Z z + b`` for stacked supports whose rows z have mean zero.

        Shapes: kernel (B, n, n), its to overwrite, targets (B, M, n) one-hot -> (B, M, n), (B, M).
        """

    def centre(self, features: Tensor) -> Tensor:
        """What is subtracted from features first. Shapes: (B, n, E) -> (B, 1, E)."""
        return features.mean(dim=1, keepdim=True)

    def factor(self, centre: Tensor, spread: Tensor) -> Tensor:
        """What centred features are multiplied with. Shapes: three times (B, 1, E)."""
        return alive_inverse(centre, spread) if self.scaling == "standard" else torch.ones_like(spread)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit one support, in float64. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        return self.fit_many(x[None].copy(), y[None], classes=classes)[0]

    def fit_many(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> list[LinearScores]:
        """Fit supports of one size, in the features' precision. Shapes: features (B, n, E), labels (B, n)."""
        z = torch.from_numpy(features)  # ours to overwrite
        batch, n, width = z.shape
        centre, factor, kernel = z.new_empty(batch, 1, width), z.new_empty(batch, 1, width), z.new_empty(batch, n, n)
        step = max(1, _CACHED // (z.element_size() * n * width))
        for some, its_centre, its_factor, its_kernel in zip(
            *(whole.split(step) for whole in (z, centre, factor, kernel)), strict=True
        ):
            its_centre.copy_(self.centre(some))
            some -= its_centre
            its_factor.copy_(self.factor(its_centre, some.square().mean(dim=1, keepdim=True).sqrt_()))
            some *= its_factor
            torch.bmm(some, some.transpose(1, 2), out=its_kernel)
        targets = F.one_hot(torch.from_numpy(labels), classes).transpose(1, 2).to(z.dtype).contiguous()
        dual, bias = self.solve(kernel, targets)
        weight = (dual @ z).mul_(factor)
        bias = bias - (weight * centre).sum(dim=2)
        return [LinearScores(w.T, b) for w, b in zip(weight.numpy(), bias.numpy(), strict=True)]


def alive_inverse(centre: Tensor, spread: Tensor, *, floor: Tensor | float = 0.0) -> Tensor:
    """One over the spread, at least ``floor``; 0 for features that are constant in the support (see `scaling_of`)."""
    return torch.where(spread > 1e-6 * centre.abs().clamp(min=1.0), 1.0 / spread.clamp(min=floor), 0.0)


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
    x = features.astype(working_dtype(features), copy=False)
    finite = bool(np.isfinite(x).all())
    sizes = np.array([len(rows) for rows, _ in supports])
    for size in np.unique(sizes).tolist():
        numbers = np.flatnonzero(sizes == size).tolist()
        rows = np.stack([supports[i][0] for i in numbers])
        labels = np.stack([supports[i][1] for i in numbers]).astype(np.int64)
        check_supports(x, rows, labels, classes, finite=finite)
        step = max(1, _BYTES // (x.itemsize * size * x.shape[1]))
        for first in range(0, len(numbers), step):
            part = slice(first, first + step)
            fitted = probe.fit_many(np.take(x, rows[part], axis=0), labels[part], classes=classes)
            for i, one in zip(numbers[part], fitted, strict=True):
                out[i] = one
    return [fitted for fitted in out if fitted is not None]


def check_supports(x: np.ndarray, rows: np.ndarray, labels: np.ndarray, classes: int, *, finite: bool) -> None:
    """`check_support` of every support of one size, in one pass where all is well. Shapes: x (N, E), others (B, n)."""
    known = finite and labels.min(initial=0) >= 0 and labels.max(initial=0) < classes
    places = labels + classes * np.arange(len(labels))[:, None]
    if not known or not np.bincount(places.ravel(), minlength=classes * len(labels)).all():
        for chosen, its in zip(rows, labels, strict=True):
            check_support(x[chosen], its, classes)
