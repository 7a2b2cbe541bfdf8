"""Linear probes of many supports, solved as one batch of small problems; the probes themselves are in other files.

A support has far fewer windows than features, and the solution lies in the span of the windows. With Z the centred and
scaled support (n, E), the weights are ``Z^T A``, and A depends on Z only through the kernel K = Z Z^T (n, n). A linear
probe derives from `LinearProbe` and computes A for a stack of kernels; a single support is a stack of one.
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
"""Bytes of support features per batch, and bytes per block within it that fit into a core's cache while scaled."""


@runtime_checkable
class Batched(Protocol):
    """A probe that fits many supports of one size at once.

    Shapes:
        features (B, n, E), which it may overwrite, labels (B, n).
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

        Shapes: kernel (B, n, n), which it may overwrite, targets (B, M, n) one-hot -> (B, M, n), (B, M).
        """

    def centre(self, features: Tensor) -> Tensor:
        """Offset that is subtracted from the features. Shapes: (B, n, E) -> (B, 1, E)."""
        return features.mean(dim=1, keepdim=True)

    def factor(self, centre: Tensor, spread: Tensor) -> Tensor:
        """Factor by which centred features are multiplied. Shapes: arguments and result (B, 1, E)."""
        return alive_inverse(centre, spread) if self.scaling == "standard" else torch.ones_like(spread)

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> LinearScores:
        """Fit one support, in float64. Shapes: features (n, E), labels (n,)."""
        x, y = check_support(features, labels, classes)
        return self.fit_many(x[None].copy(), y[None], classes=classes)[0]

    def fit_many(self, features: np.ndarray, labels: np.ndarray, *, classes: int) -> list[LinearScores]:
        """Fit supports of one size, in the features' precision; overwrites the features.

        Shapes: features (B, n, E), labels (B, n).
        """
        z = torch.from_numpy(features)  # shares memory: scaling in place needs no second copy of a batch
        batch, n, width = z.shape
        centre, factor, kernel = z.new_empty(batch, 1, width), z.new_empty(batch, 1, width), z.new_empty(batch, n, n)
        step = max(1, _CACHED // (z.element_size() * n * width))
        for some, its_centre, its_factor, its_kernel in zip(
            *(whole.split(step) for whole in (z, centre, factor, kernel)), strict=True
        ):
            # All passes over a block run while it is in the cache; passes over the whole batch would read memory.
            its_centre.copy_(self.centre(some))
            some -= its_centre
            its_factor.copy_(self.factor(its_centre, some.square().mean(dim=1, keepdim=True).sqrt_()))
            some *= its_factor
            torch.bmm(some, some.transpose(1, 2), out=its_kernel)
        targets = F.one_hot(torch.from_numpy(labels), classes).transpose(1, 2).to(z.dtype).contiguous()
        dual, bias = self.solve(kernel, targets)
        # The scaling is folded into weights and offset, so that scores are computed from features as they are.
        weight = (dual @ z).mul_(factor)
        bias = bias - (weight * centre).sum(dim=2)
        return [LinearScores(w.T, b) for w, b in zip(weight.numpy(), bias.numpy(), strict=True)]


def alive_inverse(centre: Tensor, spread: Tensor, *, floor: Tensor | float = 0.0) -> Tensor:
    """One over the spread, which is raised to ``floor``; 0 for features that are constant in the support.

    The threshold for constant features is that of `scaling_of`.
    """
    return torch.where(spread > 1e-6 * centre.abs().clamp(min=1.0), 1.0 / spread.clamp(min=floor), 0.0)


def fit_supports(
    probe: Probe, features: np.ndarray, supports: Sequence[tuple[np.ndarray, np.ndarray]], *, classes: int
) -> list[Fitted]:
    """Fit a probe on every support, in batches if the probe can.

    Args:
        probe: any probe.
        features: (N, E).
        supports: rows of the features and their labels, one pair per episode.
        classes: M.

    Returns:
        One fitted probe per episode, in order.
    """
    if not isinstance(probe, Batched):
        return [probe.fit(features[rows], labels, classes=classes) for rows, labels in supports]
    out: list[Fitted | None] = [None] * len(supports)
    x = features.astype(working_dtype(features), copy=False)
    finite = bool(np.isfinite(x).all())
    sizes = np.array([len(rows) for rows, _ in supports])
    # Only supports of one size can be stacked.
    for size in np.unique(sizes).tolist():
        indices = np.flatnonzero(sizes == size).tolist()
        rows = np.stack([supports[i][0] for i in indices])
        labels = np.stack([supports[i][1] for i in indices]).astype(np.int64)
        check_supports(x, rows, labels, classes, finite=finite)
        step = max(1, _BYTES // (x.itemsize * size * x.shape[1]))
        for first in range(0, len(indices), step):
            part = slice(first, first + step)
            fitted = probe.fit_many(np.take(x, rows[part], axis=0), labels[part], classes=classes)
            for i, one in zip(indices[part], fitted, strict=True):
                out[i] = one
    return [fitted for fitted in out if fitted is not None]


def check_supports(x: np.ndarray, rows: np.ndarray, labels: np.ndarray, classes: int, *, finite: bool) -> None:
    """`check_support` for every support of one size, in one pass if all are valid. Shapes: x (N, E), others (B, n)."""
    # Classes of support b are numbered from b * M on, so one bincount finds a missing class in any support. The slow
    # loop runs only in case of an error: it finds the first invalid support and raises with its details.
    in_range = finite and labels.min(initial=0) >= 0 and labels.max(initial=0) < classes
    codes = labels + classes * np.arange(len(labels))[:, None]
    if not in_range or not np.bincount(codes.ravel(), minlength=classes * len(labels)).all():
        for chosen, its in zip(rows, labels, strict=True):
            check_support(x[chosen], its, classes)
