"""RSC: the features that decide most are muted, so that others learn to decide, too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.errors import ConfigError


@algorithms.register("rsc")
class RSC(Algorithm):
    """Representation self-challenging (Huang et al. 2020, arXiv 2007.02454).

    In each window the ``features`` share with the largest gradient of the true class's score is set to zero; that is
    kept for the ``batch`` share of windows whose true class loses most probability by it, the others stay whole.
    Shares are exact numbers of features and windows, so that ties mute as many as no ties (methods 4.7).

    Args:
        features: share of the features that is muted, in [0, 1).
        batch: share of the windows that is muted, in [0, 1].
    """

    def __init__(self, *, features: float = 1 / 3, batch: float = 1 / 3) -> None:
        super().__init__()
        if not 0 <= features < 1 or not 0 <= batch <= 1:
            raise ConfigError(f"rsc: features must be in [0, 1), batch in [0, 1], got {features=}, {batch=}")
        self.share, self.batch_share = features, batch

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        features = self.network.features(batch.imu, batch.mask)
        muted = features * self.mask(features, batch.label)
        loss = F.cross_entropy(self.network.classifier(muted), batch.label)
        self.step(loss)
        return {"loss": loss.item()}

    def mask(self, features: Tensor, labels: Tensor) -> Tensor:
        """What is kept of each feature. Shapes: (B, E), (B,) -> (B, E) of zeros and ones."""
        leaf = features.detach().requires_grad_()
        logits = self.network.classifier(leaf)
        own = logits.gather(1, labels[:, None])
        (gradient,) = torch.autograd.grad(own.sum(), leaf)
        keep = torch.ones_like(leaf)
        number = round(self.share * leaf.shape[1])
        keep.scatter_(1, gradient.topk(number, dim=1).indices, 0.0)
        with torch.no_grad():
            before = logits.softmax(1).gather(1, labels[:, None])[:, 0]
            after = self.network.classifier(leaf * keep).softmax(1).gather(1, labels[:, None])[:, 0]
            hit = torch.zeros(len(leaf), dtype=torch.bool, device=leaf.device)
            hit[(before - after).topk(round(self.batch_share * len(leaf))).indices] = True
        return torch.where(hit[:, None], keep, 1.0)
