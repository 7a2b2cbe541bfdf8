"""DANN: domain-adversarial training of features from which the domain cannot be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import Count, NonNegative


class _Reverse(torch.autograd.Function):
    """Identity forward, minus alpha times the gradient backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.alpha * gradients[0], None


def reverse_gradient(x: Tensor, alpha: float) -> Tensor:
    """Returns x unchanged; its gradient is multiplied by -alpha (Ganin et al. 2016, equation 18)."""
    out: Tensor = _Reverse.apply(x, alpha)
    return out


def discriminator(width: int, hidden: int, outputs: int) -> nn.Sequential:
    """A classifier with two hidden layers, batch norm and ReLU."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


@algorithms.register("dann")
class DANN(Algorithm):
    """Cross-entropy plus a discriminator of domains behind a gradient reversal (Ganin et al. 2016, arXiv 1505.07818).

    L = CE(g(f), y) + CE(D(R_alpha(f)), e): the discriminator learns to predict the domain e, and the reversed gradient
    trains the encoder against it.

    Args:
        alpha: strength of the reversed gradient, at least 0.
        hidden: width of the discriminator's two hidden layers.
    """

    def __init__(self, *, alpha: NonNegative = 1.0, hidden: Count = 256) -> None:
        super().__init__()
        self.alpha, self.hidden = alpha, hidden

    def extend(self) -> None:
        self.discriminator = discriminator(self.network.encoder.feature_dim, self.hidden, self.domains)

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        features = self.network.features(batch.imu, batch.mask)
        # The joined batch is in the order of the domains, with equally many windows of each.
        domain = torch.arange(self.domains, device=features.device).repeat_interleave(len(batches[0]))
        classes = F.cross_entropy(self.network.classifier(features), batch.label)
        domains = F.cross_entropy(self.discriminator(reverse_gradient(features, self.alpha)), domain)
        self.step(classes + domains)
        return {"loss": classes.item(), "domain_loss": domains.item()}
