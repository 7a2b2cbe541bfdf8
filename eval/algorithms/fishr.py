"""Fishr: the gradients of the classifier should vary alike in all domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.errors import ConfigError


def gradient_variance(features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Variance over samples of the classifier's gradients, in closed form and differentiable.

    For a linear classifier the gradient of sample i's cross-entropy is r_i f_i^T for the weight and r_i for the bias,
    with r_i = softmax(logits_i) - onehot(y_i); so E[g^2] and E[g]^2 are matrix products and no sample needs a backward
    pass of its own.

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

    With v_e the moving average of domain e's gradient variance (divided by 1 - ema, so that its gradient keeps its
    size): penalty = mean_e mean((v_e - mean_e v_e)^2). Its weight is 0 until ``start`` and ``penalty`` from then on,
    where the optimiser starts anew.

    Args:
        penalty: weight, >= 0; the paper uses 1000.
        ema: of the averages, in [0, 1).
        start: updates before the penalty counts.
    """

    average: Tensor

    def __init__(self, *, penalty: float = 1.0, ema: float = 0.95, start: int = 1500) -> None:
        super().__init__()
        if penalty < 0 or not 0 <= ema < 1 or start < 0:
            raise ConfigError(f"fishr: penalty and start must be >= 0, ema in [0, 1), got {penalty=}, {ema=}, {start=}")
        self.penalty, self.ema, self.start = penalty, ema, start

    def extend(self) -> None:
        head = self.network.classifier
        self.register_buffer("average", torch.zeros(self.domains, head.weight.numel() + head.bias.numel()))

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        if self.updates == self.start and self.start:
            self.optimizer = self.fresh_optimizer()
        features = self.network.features(batch.imu, batch.mask)
        logits = self.network.classifier(features)
        loss = F.cross_entropy(logits, batch.label)
        parts = zip(*(self.by_domain(x) for x in (features, logits, batch.label)), strict=True)
        mixed = self.ema * self.average + (1 - self.ema) * torch.stack([gradient_variance(*part) for part in parts])
        self.average = mixed.detach()
        variance = mixed / (1 - self.ema)
        penalty = ((variance - variance.mean(dim=0)) ** 2).mean()
        self.step(loss + (self.penalty if self.updates >= self.start else 0.0) * penalty)
        return {"loss": loss.item(), "penalty": penalty.item()}
