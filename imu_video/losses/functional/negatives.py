"""Selection and weighting of negatives: importance, debiasing, metadata, mining; pure functions in log space."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

BetaOn = Literal["logit", "cosine"]
"""Quantity that beta multiplies in the importance weight: the logit (cosine / temperature, published) or the cosine."""


def same_recording(
    recording: Tensor, time: Tensor, other_recording: Tensor, other_time: Tensor, gap_s: float
) -> tuple[Tensor, Tensor]:
    """Pairs of windows of the same recording: within a gap (not used as negatives), and farther apart (hard negatives).

    Args:
        recording, time: (B,) number and start in seconds of the rows.
        other_recording, other_time: (N,) of the columns; a negative number means that the recording is not known.
        gap_s: seconds between starts, >= 0; a distance of exactly ``gap_s`` is within.

    Shapes: -> (B, N) bool, (B, N) bool.

    Example:
        >>> near, far = same_recording(*(torch.tensor([0, 0]), torch.tensor([0.0, 9.0])) * 2, gap_s=5.0)
        >>> near.tolist(), far.tolist()
        ([[True, False], [False, True]], [[False, True], [True, False]])
    """
    same = (recording[:, None] == other_recording) & (other_recording >= 0)
    within = (time[:, None] - other_time).abs() <= gap_s
    return same & within, same & ~within


def hardest(similarities: Tensor, allowed: Tensor, count: int) -> Tensor:
    """The ``count`` most similar allowed columns of every row, (B, N) bool; fewer where fewer are allowed."""
    count = min(count, similarities.shape[1])
    best = similarities.masked_fill(~allowed, -math.inf).topk(count, dim=1).indices
    # In a row with fewer than ``count`` allowed columns, topk also returns columns at -inf.
    return torch.zeros_like(allowed).scatter_(1, best, True) & allowed


def log_importance(
    cosines: Tensor,
    allowed: Tensor,
    *,
    scale: Tensor | float,
    beta: float,
    beta_on: BetaOn = "logit",
    log_prior: Tensor | None = None,
) -> Tensor:
    """Logarithm of the importance weights of negatives, which have mean 1 over every row's allowed columns.

    Robinson et al. 2021 (arXiv 2010.04592): w_ij proportional to exp(beta s_ij), s_ij = cosine / temperature; with
    ``beta_on="cosine"`` to exp(beta cos_ij), so that the temperature does not multiply the concentration.

    Args:
        cosines: (B, N).
        allowed: (B, N) bool, the negatives; at least one per row.
        scale: 1 / temperature.
        beta: concentration, >= 0; 0 gives equal weights.
        beta_on: see `BetaOn`.
        log_prior: (B, N) logarithm of a factor on the weights before they are normalised, or None.

    Shapes: -> (B, N), -inf where not allowed.

    Example:
        >>> log_importance(torch.tensor([[0.0, 1.0]]), torch.ones(1, 2).bool(), scale=1.0, beta=0.0).exp().tolist()
        [[1.0, 1.0]]
    """
    energy = beta * (scale * cosines if beta_on == "logit" else cosines)
    if log_prior is not None:
        energy = energy + log_prior
    energy = energy.masked_fill(~allowed, -math.inf)
    # A softmax times the number of allowed columns: the weights of a row have mean 1.
    return energy - energy.logsumexp(1, keepdim=True) + allowed.sum(1, keepdim=True).to(energy.dtype).log()


def hard_negative_nce(
    cosines: Tensor,
    positives: Tensor,
    allowed: Tensor,
    *,
    scale: Tensor | float,
    beta: float,
    tau_plus: float,
    beta_on: BetaOn = "logit",
    detach_weights: bool = False,
    log_prior: Tensor | None = None,
) -> Tensor:
    """One direction of InfoNCE with importance-weighted, debiased negatives.

    Robinson et al. 2021 (arXiv 2010.04592) across modalities, as in Choi et al. 2023 (arXiv 2309.01262). With N
    negatives, s = cosine / temperature, R_i = sum_j w_ij exp(s_ij) and prior tau_plus of a false negative:
    G_i = max( (R_i - tau_plus N exp(s_ii)) / (1 - tau_plus), N exp(-1 / temperature) ),
    L = mean_i log(1 + G_i / exp(s_ii)). A row without negatives costs 0.

    Args:
        cosines: (B, N) of own rows to all columns, -1 to 1.
        positives: (B,) int64, the column that belongs to each row.
        allowed: (B, N) bool, the negatives of each row, without the positive.
        scale: 1 / temperature.
        beta: concentration on hard negatives, >= 0; 0 with tau_plus 0 is InfoNCE.
        tau_plus: prior of a false negative, in [0, 1).
        beta_on, log_prior: see `log_importance`.
        detach_weights: no gradient through the weights.

    Shapes: -> () scalar.

    Example:
        >>> c = torch.zeros(4, 4)
        >>> round(float(hard_negative_nce(c, torch.arange(4), ~torch.eye(4).bool(), scale=1, beta=1, tau_plus=0)), 4)
        1.3863
    """
    empty = ~allowed.any(1)
    allowed = allowed | empty[:, None]  # keeps the logarithms finite; such a row is set to 0 below
    logits = scale * cosines
    positive = logits.gather(1, positives[:, None])[:, 0]
    weights = log_importance(cosines, allowed, scale=scale, beta=beta, beta_on=beta_on, log_prior=log_prior)
    if detach_weights:
        weights = weights.detach()
    log_count = allowed.sum(1).to(logits.dtype).log()
    mean = (logits + weights).logsumexp(1) - log_count
    if tau_plus > 0:
        # R - tau_plus N exp(s_ii) is R (1 - exp(share)), and log(1 - exp(share)) is computed with expm1, which is
        # accurate near 0. Where the difference is not positive, -1 is a placeholder that keeps the gradient finite.
        share = math.log(tau_plus) + positive - mean
        left = share < -torch.finfo(share.dtype).eps
        rest = torch.log(-torch.expm1(torch.where(left, share, -1.0)))
        mean = torch.where(left, mean + rest - math.log1p(-tau_plus), -math.inf)
    # exp(s) is at least exp(-1 / temperature), so a smaller mean shows that the correction subtracted too much.
    floor = torch.as_tensor(-scale, dtype=mean.dtype, device=mean.device)
    loss = F.softplus(torch.maximum(mean, floor.expand_as(mean)) + log_count - positive)
    return torch.where(empty, 0, loss).mean()
