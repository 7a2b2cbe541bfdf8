"""RSC: mutes the most important features during training, so that the classifier also uses the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import BelowOne, Probability


def at_percentile(number: int, fraction: float) -> int:
    """How many of distinct values are at or above their (1 - fraction) percentile, with linear interpolation.

    Example:
        >>> at_percentile(10, 1 / 3), at_percentile(12, 1 / 3), at_percentile(10, 0.0)
        (4, 4, 0)
    """
    if fraction == 0:
        return 0
    # Rounded, because (1 - 1 / 3) * 159 is above 106 in floating point.
    return number - math.ceil(round((1 - fraction) * (number - 1), 9))


@algorithms.register("rsc")
class RSC(Algorithm):
    """Representation self-challenging (Huang et al. 2020, arXiv 2007.02454).

    In each window the fraction ``features`` of features with the largest gradient of the true class's score is set to
    zero. Only the fraction ``batch`` of windows whose true class loses most probability is muted; the others are
    unchanged. As published, both are the values at or above a percentile with linear interpolation: of n values,
    n - ceil((1 - fraction) (n - 1)). Their number is exact also with ties (methods 4.7), and a fraction of zero mutes
    nothing.

    Args:
        features: fraction of the features to mute, in [0, 1).
        batch: fraction of the windows to mute, in [0, 1].
    """

    def __init__(self, *, features: BelowOne = 1 / 3, batch: Probability = 1 / 3) -> None:
        super().__init__()
        self.share, self.batch_share = features, batch

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        features = self.network.features(batch.imu, batch.mask)
        muted = features * self.mask(features, batch.label)
        loss = F.cross_entropy(self.network.classifier(muted), batch.label)
        self.step(loss)
        return {"loss": loss.item()}

    def mask(self, features: Tensor, labels: Tensor) -> Tensor:
        """Zero for muted features, one for the others. Shapes: (B, E), (B,) -> (B, E)."""
        # A detached leaf, so that the gradient with respect to the features does not reach the encoder.
        leaf = features.detach().requires_grad_()
        logits = self.network.classifier(leaf)
        own = logits.gather(1, labels[:, None])
        (gradient,) = torch.autograd.grad(own.sum(), leaf)
        keep = torch.ones_like(leaf)
        muted = at_percentile(leaf.shape[1], self.share)
        keep.scatter_(1, gradient.topk(muted, dim=1).indices, 0.0)
        with torch.no_grad():
            before = logits.softmax(1).gather(1, labels[:, None])[:, 0]
            after = self.network.classifier(leaf * keep).softmax(1).gather(1, labels[:, None])[:, 0]
            hit = torch.zeros(len(leaf), dtype=torch.bool, device=leaf.device)
            hit[(before - after).topk(at_percentile(len(leaf), self.batch_share)).indices] = True
        return torch.where(hit[:, None], keep, 1.0)
