"""Fishr: makes the variance of the classifier's gradients equal in all domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import BelowOne, NonNegative, Whole


def gradient_variance(features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Variance of the classifier's gradients over windows, in closed form and differentiable.

    For a linear classifier the gradient of the cross-entropy of window i is r_i f_i^T for the weight and r_i for the
    bias, with r_i = softmax(logits_i) - onehot(y_i). E[g^2] and E[g]^2 are therefore matrix products, and no backward
    pass per window is needed.

    Shapes: (n, E), (n, M), (n,) -> (M E + M,).
    """
    n = len(labels)
    residual = logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1])
    weight_mean, weight_square = residual.T @ features / n, (residual**2).T @ features**2 / n
    bias_mean, bias_square = residual.mean(dim=0), (residual**2).mean(dim=0)
    return torch.cat([(weight_square - weight_mean**2).flatten(), bias_square - bias_mean**2])


@algorithms.register("fishr")
class Fishr(Algorithm):
    """Invariant variance of gradients (Rame et al. 2022, arXiv 2109.02934).

    With v_e the moving average of the gradient variance of domain e, divided by 1 - ema:
    penalty = mean_e mean((v_e - mean_e v_e)^2). Its weight is 0 before update ``start`` and ``penalty`` from then on.
    The optimiser is reset at ``start``.

    Args:
        penalty: weight, at least 0; the paper uses 1000.
        ema: decay of the moving averages, in [0, 1).
        start: first update with the penalty, at least 0.
    """

    average: Tensor

    def __init__(self, *, penalty: NonNegative = 1.0, ema: BelowOne = 0.95, start: Whole = 1500) -> None:
        super().__init__()
        self.penalty, self.ema, self.start = penalty, ema, start

    def extend(self) -> None:
        head = self.network.classifier
        self.register_buffer("average", torch.zeros(self.domains, head.weight.numel() + head.bias.numel()))

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        if self.updates == self.start and self.start:
            # Adam's averages describe the loss without the penalty and would scale the first steps wrongly.
            self.optimizer = self.fresh_optimizer()
        features = self.network.features(batch.imu, batch.mask)
        logits = self.network.classifier(features)
        loss = F.cross_entropy(logits, batch.label)
        parts = zip(*(self.by_domain(x) for x in (features, logits, batch.label)), strict=True)
        mixed = self.ema * self.average + (1 - self.ema) * torch.stack([gradient_variance(*part) for part in parts])
        # The stored average carries no graph: gradients flow through the current batch only.
        self.average = mixed.detach()
        # The current batch enters `mixed` with the factor 1 - ema; the division gives its gradient full size again.
        variance = mixed / (1 - self.ema)
        penalty = ((variance - variance.mean(dim=0)) ** 2).mean()
        self.step(loss + (self.penalty if self.updates >= self.start else 0.0) * penalty)
        return {"loss": loss.item(), "penalty": penalty.item()}
