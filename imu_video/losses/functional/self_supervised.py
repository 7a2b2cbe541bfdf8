"""Self-supervised and regularising equations on embeddings of augmented pairs; heads and masking are objectives."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(logits: Tensor, itself: Tensor, positives: Tensor) -> Tensor:
    """Cross-entropy of a window's partner in its augmented pair among all other windows.

    Chen et al. 2020 (arXiv 2002.05709), equation 1: l_i = -log( exp(s_ip) / sum_{k != i} exp(s_ik) ), mean over rows.

    Args:
        logits: (B, 2N) similarities of own windows to both windows of all pairs, divided by the temperature.
        itself: (B,) int64, the column of the row itself.
        positives: (B,) int64, the column of its partner.

    Shapes: -> () scalar.

    Example:
        >>> round(float(nt_xent(torch.zeros(1, 4), torch.tensor([0]), torch.tensor([2]))), 4)
        1.0986
    """
    mask = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, itself[:, None], True)
    return F.cross_entropy(logits.masked_fill(mask, -math.inf), positives)


def variance_and_covariance(x: Tensor, *, target: float = 1.0, eps: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Shortfall of each dimension's standard deviation, and redundancy between dimensions.

    Bardes et al. 2022 (arXiv 2105.04906), equations 1 to 4: v = (1/D) sum_d max(0, target - sqrt(Var(x_d) + eps)),
    c = (1/D) sum_{d != e} Cov(x)_de^2, both with N - 1.

    Args:
        x: (N, D), N >= 2.
        target: standard deviation at and above which the loss is 0.
        eps: keeps the square root differentiable at 0.

    Shapes: -> (), ().

    Raises:
        ValueError: fewer than two rows.

    Example:
        >>> v, c = variance_and_covariance(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        >>> v.item(), c.item()
        (0.0, 4.0)
    """
    if len(x) < 2:
        raise ValueError(f"variance needs at least 2 rows in the global batch, got {len(x)}")
    centred = x - x.mean(0)
    covariance = centred.T @ centred / (len(x) - 1)
    variance = covariance.diagonal()
    spread = (target - (variance + eps).sqrt()).relu().mean()
    return spread, (covariance.square().sum() - variance.square().sum()) / x.shape[1]


def barlow_twins(x: Tensor, y: Tensor, *, redundancy: float, eps: float = 1e-12) -> Tensor:
    """Squared distance of the cross-correlation of an augmented pair from the identity matrix.

    Zbontar et al. 2021 (arXiv 2103.03230), equation 1: L = sum_d (1 - C_dd)^2 + lambda sum_{d != e} C_de^2, C the
    correlation over the batch of dimension d of the first windows with dimension e of the second.

    Args:
        x, y: (N, D), the same windows twice, N >= 2.
        redundancy: lambda, > 0; the paper uses 0.005.
        eps: added to variances, so that a constant dimension has correlation 0 instead of NaN.

    Shapes: -> () scalar.

    Raises:
        ValueError: fewer than two rows.

    Example:
        >>> round(float(barlow_twins(torch.eye(2), torch.eye(2), redundancy=0.005)), 4)
        0.01
    """
    if len(x) < 2:
        raise ValueError(f"correlation needs at least 2 rows in the global batch, got {len(x)}")
    one, two = (c / (c.square().mean(0) + eps).sqrt() for c in (x - x.mean(0), y - y.mean(0)))
    correlation = one.T @ two / len(x)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off
