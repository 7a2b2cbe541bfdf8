"""DDLearn: predicts which of seven augmentations was applied, keeps features diverse and classes compact."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import NonNegative, Positive
from imu_video.transforms import Compose

AUGMENTATIONS = ("jitter", "scale", "magnitude_warp", "time_warp", "rotate", "permute", "low_rate")
"""Registered augmentations whose kind is predicted: indices 1..7 in this order, 0 for the raw window."""


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """SupCon: windows of one class are positives of each other (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    L = -mean_i 1/|P(i)| sum_{p in P(i)} log softmax_{a != i}(z_i z_a / t)_p over the rows with a positive.

    Args:
        features: (n, E), normalised by this function.
        labels: (n,).
        temperature: t > 0.
    """
    z = F.normalize(features, dim=1)
    others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(~others, float("-inf"))
    # The diagonal is -inf, and -inf times the 0 of `positive` would be NaN.
    log_share = logits.log_softmax(dim=1).masked_fill(~others, 0.0)
    positive = (labels[:, None] == labels[None]) & others
    count = positive.sum(dim=1)
    rows = count > 0
    if not bool(rows.any()):
        return features.sum() * 0  # zero with a gradient, so that the caller can backpropagate as usual
    return -((log_share * positive).sum(dim=1)[rows] / count[rows]).mean()


@algorithms.register("ddlearn")
class DDLearn(Algorithm):
    """Diverse and discriminative representations for little data (Qin et al. 2023, arXiv 2305.08434).

    Each window is in the batch twice, raw and after one of seven augmentations. L = CE of the activity of both +
    ``kind`` CE of the augmentation's kind + ``diverse`` [BCE(D(raw), 1) + BCE(D(augmented), 0)] + ``contrast`` SupCon.
    D is trained together with the network: a classifier of raw against augmented windows keeps their features diverse.
    Only training windows are augmented, again at every step, and SupCon receives unit vectors; both differ from the
    released code (methods 4.7).

    Args:
        kind, diverse, contrast: weights, at least 0.
        temperature: temperature of SupCon, above 0.
    """

    changes_windows = True

    def __init__(
        self,
        *,
        kind: NonNegative = 1.0,
        diverse: NonNegative = 1.0,
        contrast: NonNegative = 1.0,
        temperature: Positive = 0.07,
    ) -> None:
        super().__init__()
        self.weights, self.temperature = (kind, diverse, contrast), temperature

    def extend(self) -> None:
        channels = self.network.encoder.spec.named_units
        self.augmentations = [Compose.build([{"name": name, "p": 1.0}], channels=channels) for name in AUGMENTATIONS]
        width = self.network.encoder.feature_dim
        self.kind_head = nn.Linear(width, 1 + len(AUGMENTATIONS))
        self.judge = nn.Linear(width, 1)

    def augmented(self, batch: DomainBatch) -> tuple[DomainBatch, Tensor]:
        """Every window after a randomly drawn augmentation, and the index 1..7 of its kind."""
        kinds = torch.randint(len(AUGMENTATIONS), (len(batch),), generator=self.generator)
        imu, mask = batch.imu.clone(), batch.mask.clone()
        for index, augmentation in enumerate(self.augmentations):
            rows = kinds == index
            if bool(rows.any()):
                imu[rows], mask[rows] = augmentation(batch.imu[rows], batch.mask[rows], self.generator)
        return DomainBatch(imu=imu, mask=mask, label=batch.label), kinds + 1

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        raw = self.join(batches)
        changed, kinds = self.augmented(raw)
        features = self.network.features(torch.cat([raw.imu, changed.imu]), torch.cat([raw.mask, changed.mask]))
        labels = raw.label.repeat(2)
        loss = F.cross_entropy(self.network.classifier(features), labels)
        kind = F.cross_entropy(self.kind_head(features), torch.cat([torch.zeros_like(kinds), kinds]))
        is_raw = torch.cat([torch.ones(len(raw)), torch.zeros(len(raw))])
        # Raw and augmented windows are equally many, so twice the mean is the sum of the means of both halves.
        diverse = 2 * F.binary_cross_entropy_with_logits(self.judge(features)[:, 0], is_raw)
        contrast = supervised_contrastive(features, labels, self.temperature)
        a, b, c = self.weights
        self.step(loss + a * kind + b * diverse + c * contrast)
        return {"loss": loss.item(), "kind": kind.item(), "diverse": diverse.item(), "contrast": contrast.item()}
