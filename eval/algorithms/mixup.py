"""Mixup: convex combinations of windows and of their labels, across domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import Positive


@algorithms.register("mixup")
class Mixup(Algorithm):
    """Cross-entropy on mixed windows, with one weight per step (Zhang et al. 2018, arXiv 1710.09412).

    With lambda ~ Beta(alpha, alpha) and a random partner p(i) from any domain: x~ = lambda x + (1 - lambda) x_p,
    L = lambda CE(x~, y) + (1 - lambda) CE(x~, y_p). A sample is marked as measured if it is measured in both windows.

    Args:
        alpha: parameter of the Beta distribution, above 0; with 0.2 most mixtures are close to one of the two windows.
    """

    changes_windows = True

    def __init__(self, *, alpha: Positive = 0.2) -> None:
        super().__init__()
        self.alpha = alpha

    def draw(self) -> float:
        """Draw lambda as X / (X + Y) from two gamma variates."""
        # torch.distributions.Beta takes no generator. For a small alpha both variates can underflow to 0.
        shape = torch.full((2,), self.alpha, dtype=torch.float64)
        x, y = torch._standard_gamma(shape, generator=self.generator).tolist()
        return x / (x + y) if x + y > 0 else 0.5

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        partner = torch.randperm(len(batch), generator=self.generator)
        loss = self.loss(batch, partner, self.draw())
        self.step(loss)
        return {"loss": loss.item()}

    def loss(self, batch: DomainBatch, partner: Tensor, weight: float) -> Tensor:
        """The loss for a given lambda and partner of each row; lambda = 1 gives plain cross-entropy."""
        if weight == 1:  # the partner must not mask samples of a window that it is not mixed into
            return F.cross_entropy(self.network(batch.imu, batch.mask), batch.label)
        imu = weight * batch.imu + (1 - weight) * batch.imu[partner]
        mask = batch.mask & batch.mask[partner]
        logits = self.network(imu, mask)
        own, other = F.cross_entropy(logits, batch.label), F.cross_entropy(logits, batch.label[partner])
        return weight * own + (1 - weight) * other
