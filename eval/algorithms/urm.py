"""URM: features are distributed uniformly over the same cube in every domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import BelowOne, Count, NonNegative, Whole


@algorithms.register("urm")
class URM(Algorithm):
    """Uniform risk minimisation: a discriminator separates features from uniform noise (Krishnamachari et al. 2024).

    h = tanh(f). The network minimises CE(g(h), y) + penalty BCE(D(h), 1); then the discriminator, which has an Adam
    optimiser of its own, minimises BCE(D(u), 1) + penalty BCE(D(h), 0) for u ~ U(-1, 1) and the features h
    from before the step. Order and LeakyReLU are those of the published code.

    Args:
        penalty: weight of the adversarial terms, at least 0.
        hidden: width of the discriminator's hidden layers, at least 1.
        layers: number of hidden layers after the first, at least 0.
        adversary_betas: betas of the discriminator's Adam, each in [0, 1); None for those of the network. The published
            code has the defaults of Adam, 0.9 and 0.999.
    """

    def __init__(
        self,
        *,
        penalty: NonNegative = 0.1,
        hidden: Count = 100,
        layers: Whole = 2,
        adversary_betas: tuple[BelowOne, BelowOne] | None = None,
    ) -> None:
        super().__init__()
        self.penalty, self.hidden, self.layers, self.adversary_betas = penalty, hidden, layers, adversary_betas

    def extend(self) -> None:
        widths = [self.network.encoder.feature_dim, *[self.hidden] * (1 + self.layers)]
        parts: list[nn.Module] = []
        for a, b in pairwise(widths):
            parts += [nn.Linear(a, b), nn.LeakyReLU()]
        # In a list, so that it is no submodule: its weights belong to its own optimiser and not to snapshots.
        self._discriminator = [nn.Sequential(*parts, nn.Linear(self.hidden, 1))]
        adam = replace(self.adam, betas=self.adversary_betas or self.adam.betas)
        self._adversary = adam.build(self._discriminator[0].parameters())

    def predict(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.network.classifier(torch.tanh(self.network.features(imu, mask)))
        return out

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        discriminator = self._discriminator[0]
        h = torch.tanh(self.network.features(batch.imu, batch.mask))
        loss = F.cross_entropy(self.network.classifier(h), batch.label)
        self.step(loss + self.penalty * _bce(discriminator(h), 1.0))
        noise = 2 * torch.rand(h.shape, generator=self.generator, dtype=h.dtype) - 1
        adversary_loss = _bce(discriminator(noise), 1.0) + self.penalty * _bce(discriminator(h.detach()), 0.0)
        # The network's loss has left a gradient in the discriminator, which is not its own.
        self._adversary.zero_grad(set_to_none=True)
        adversary_loss.backward()
        self._adversary.step()
        return {"loss": loss.item(), "discriminator_loss": adversary_loss.item()}


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
