"""Standardisation of features by moments of training windows; no batch statistics and nothing that is learned."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from imu_video.runtime.distributed import world

SMALLEST_VARIANCE = 1e-6


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of each column, which are buffers and not learned.

    `fit` sets both from training windows. In training mode, a layer that follows its input updates them with each
    batch, of all processes together, before they are applied, and one that was fitted is left as it is. The gradient
    treats the moments as constants, so that rows do not depend on each other as in batch norm. A layer that was neither
    fitted nor trained changes nothing.

    Args:
        width: E.
        follow: share of a batch in the moments of an input that changes during training, in (0, 1]; None: the input
            has no trained part, and the moments of batches are averaged until `fit` fixes them.
        limit: largest absolute value of the result, above 0; None: no limit.

    Shapes: x (B, E), defined (B, E) bool or None (all) -> (B, E), 0 where not defined and in columns that had no
        defined value in training.

    Example:
        >>> layer = Standardise(width=1)
        >>> layer.fit(torch.tensor([[1.0], [3.0]]))
        >>> layer(torch.tensor([[4.0]])).tolist()
        [[2.0]]
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    fitted: Tensor

    def __init__(self, *, width: int, follow: float | None = None, limit: float | None = None) -> None:
        super().__init__()
        self.follow, self.limit = follow, limit
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("count", torch.zeros(width))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor, defined: Tensor | None = None) -> Tensor:
        """Standardised (B, E); in training mode the moments are updated first."""
        if self.training:
            with torch.no_grad():
                self._update(x.detach(), defined)
        spread = self.variance.clamp(min=SMALLEST_VARIANCE).sqrt()
        z = (x - self.mean.to(x.dtype)) / spread.to(x.dtype)
        if self.limit is not None:
            z = z.clamp(-self.limit, self.limit)
        # A column without values in training has no scale; before any training, columns pass as they are.
        known = (self.count > 0) | ~(self.count > 0).any()
        known = known if defined is None else known & defined
        return torch.where(known, z, 0)

    @torch.no_grad()
    def fit(self, x: Tensor, defined: Tensor | None = None) -> None:
        """Set the moments to those of the rows of x; equal on all processes if these have the same rows.

        Shapes: x (N, E), defined (N, E) bool or None.
        """
        count, mean, variance = _moments(x, defined, together=False)
        self._set(count, mean, variance, count > 0)
        self.fitted.fill_(True)

    def adopt(self, other: Standardise) -> None:
        """Take the moments of a layer of the same width."""
        for name, value in other.named_buffers():
            getattr(self, name).copy_(value)

    def _update(self, x: Tensor, defined: Tensor | None) -> None:
        count, mean, variance = _moments(x, defined, together=True)
        seen = self.count + count
        if self.follow is None:
            share = torch.where(self.fitted, 0, count / seen.clamp(min=1))
        else:
            share = torch.where(self.count > 0, self.follow, 1.0)
        share = torch.where(count > 0, share, 0)
        variance_before = torch.where(self.count > 0, self.variance, 0)
        step = mean - self.mean
        new_mean = self.mean + share * step
        # Of a mixture of both: the mean of the variances, and the variance of the means.
        new_variance = (1 - share) * variance_before + share * variance + share * (1 - share) * step.square()
        self._set(seen, new_mean, new_variance, share > 0)

    def _set(self, count: Tensor, mean: Tensor, variance: Tensor, change: Tensor) -> None:
        self.count.copy_(count)
        self.mean.copy_(torch.where(change, mean, self.mean))
        self.variance.copy_(torch.where(change, variance, self.variance))


def _moments(x: Tensor, defined: Tensor | None, *, together: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and variance of each column, over the rows of all processes if ``together``."""
    there = torch.ones_like(x, dtype=torch.bool) if defined is None else defined
    there = there & x.isfinite()
    sums = torch.stack([there.to(x.dtype).sum(0), torch.where(there, x, 0).sum(0)])
    if together and world().size > 1:
        dist.all_reduce(sums)
    count, total = sums
    mean = total / count.clamp(min=1)
    squares = torch.where(there, (x - mean).square(), 0).sum(0)
    if together and world().size > 1:
        dist.all_reduce(squares)
    return count, mean, squares / count.clamp(min=1)
