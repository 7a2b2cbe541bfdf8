"""RSC: mutes the most important features during training, so that the classifier also uses the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import BelowOne, Probability


@algorithms.register("rsc")
class RSC(Algorithm):
    """Representation self-challenging (Huang et al. 2020, arXiv 2007.02454).

    In each window the fraction ``features`` of features with the largest gradient of the true class's score is set to
    zero. Only the fraction ``batch`` of windows whose true class loses most probability is muted; the others are
    unchanged. The numbers of features and windows are exact, also with ties (methods 4.7).

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
        muted = round(self.share * leaf.shape[1])
        keep.scatter_(1, gradient.topk(muted, dim=1).indices, 0.0)
        with torch.no_grad():
            before = logits.softmax(1).gather(1, labels[:, None])[:, 0]
            after = self.network.classifier(leaf * keep).softmax(1).gather(1, labels[:, None])[:, 0]
            hit = torch.zeros(len(leaf), dtype=torch.bool, device=leaf.device)
            hit[(before - after).topk(round(self.batch_share * len(leaf))).indices] = True
        return torch.where(hit[:, None], keep, 1.0)
