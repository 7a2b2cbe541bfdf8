"""Distances between the feature distributions of domains, and the objective that CORAL and MMD share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch
from imu_video.arguments import NonNegative

BANDWIDTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
"""Factors g of the kernels exp(-g d^2) that the MMD sums (methods, algorithm 6)."""


def coral_distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of means plus that of unbiased covariances (Sun and Saenko 2016, arXiv 1607.01719).

    With A and B the centred rows, |A^T A - B^T B|^2 = |A A^T|^2 + |B B^T|^2 - 2 |A B^T|^2. With fewer windows than
    features the right-hand side is cheaper, because its products are windows by windows.

    Shapes: (n, E), (k, E) with n, k >= 2 -> ().
    """
    mean = ((x.mean(dim=0) - y.mean(dim=0)) ** 2).mean()
    a = (x - x.mean(dim=0)) / math.sqrt(len(x) - 1)
    b = (y - y.mean(dim=0)) / math.sqrt(len(y) - 1)
    if len(x) + len(y) < x.shape[1]:
        covariance = ((a @ a.T) ** 2).sum() + ((b @ b.T) ** 2).sum() - 2 * ((a @ b.T) ** 2).sum()
    else:
        covariance = ((a.T @ a - b.T @ b) ** 2).sum()
    return mean + covariance / x.shape[1] ** 2


def mmd_distance(x: Tensor, y: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> Tensor:
    """Squared maximum mean discrepancy, kernels summed over bandwidths, diagonals included (Gretton et al. 2012).

    K = sum_g exp(-g |a - b|^2);  MMD^2 = mean K(x, x) + mean K(y, y) - 2 mean K(x, y).

    Shapes: (n, E), (k, E) -> ().
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        squared = squared.clamp(min=0)  # rounding can make the distance of equal rows negative
        return torch.stack([torch.exp(-g * squared) for g in bandwidths]).sum(0).mean()

    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


def pairwise_penalty(features: Sequence[Tensor], distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean distance over all pairs of domains; zero for a single domain."""
    pairs = list(combinations(features, 2))
    if not pairs:
        return features[0].new_zeros(())
    return torch.stack([distance(x, y) for x, y in pairs]).mean()


class Aligned(Algorithm):
    """Cross-entropy plus gamma times the mean distance between the features of two domains.

    Args:
        gamma: weight, at least 0.
    """

    distance: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, *, gamma: NonNegative = 1.0) -> None:
        super().__init__()
        self.gamma = gamma

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        features = self.network.features(batch.imu, batch.mask)
        loss = F.cross_entropy(self.network.classifier(features), batch.label)
        penalty = pairwise_penalty(self.by_domain(features), type(self).distance)
        self.step(loss + self.gamma * penalty)
        return {"loss": loss.item(), "penalty": penalty.item()}
