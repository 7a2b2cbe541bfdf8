"""URM: features are distributed uniformly over the same cube in every domain."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import Count, NonNegative, Whole


@algorithms.register("urm")
class URM(Algorithm):
    """Uniform risk minimisation: a discriminator separates features from uniform noise (Krishnamachari et al. 2024).

    h = tanh(f). The discriminator has its own Adam optimiser and minimises BCE(D(u), 1) + penalty BCE(D(h), 0) for
    u ~ U(-1, 1); the network minimises CE(g(h), y) + penalty BCE(D(h), 1).

    Args:
        penalty: weight of the adversarial terms, at least 0.
        hidden: width of the discriminator's hidden layers, at least 1.
        layers: number of hidden layers after the first, at least 0.
    """

    def __init__(self, *, penalty: NonNegative = 0.1, hidden: Count = 100, layers: Whole = 2) -> None:
        super().__init__()
        self.penalty, self.hidden, self.layers = penalty, hidden, layers

    def extend(self) -> None:
        widths = [self.network.encoder.feature_dim, *[self.hidden] * (1 + self.layers)]
        parts: list[nn.Module] = []
        for a, b in pairwise(widths):
            parts += [nn.Linear(a, b), nn.ReLU()]
        # In a list, so that it is no submodule: its weights belong to its own optimiser and not to snapshots.
        self._discriminator = [nn.Sequential(*parts, nn.Linear(self.hidden, 1))]
        self._adversary = self.adam.build(self._discriminator[0].parameters())

    def predict(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.network.classifier(torch.tanh(self.network.features(imu, mask)))
        return out

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        discriminator = self._discriminator[0]
        h = torch.tanh(self.network.features(batch.imu, batch.mask))
        noise = 2 * torch.rand(h.shape, generator=self.generator) - 1
        adversary_loss = _bce(discriminator(noise), 1.0) + self.penalty * _bce(discriminator(h.detach()), 0.0)
        self._adversary.zero_grad(set_to_none=True)
        adversary_loss.backward()
        self._adversary.step()
        # The gradient of this loss also reaches the discriminator, but its optimiser clears it before the next step.
        loss = F.cross_entropy(self.network.classifier(h), batch.label)
        encoder_loss = _bce(discriminator(h), 1.0)
        self.step(loss + self.penalty * encoder_loss)
        return {"loss": loss.item(), "discriminator_loss": adversary_loss.item()}


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
