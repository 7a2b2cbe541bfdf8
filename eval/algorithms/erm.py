"""Empirical risk minimisation, the baseline of all other algorithms."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F

from eval.algorithms.base import Algorithm, DomainBatch, algorithms


@algorithms.register("erm")
class ERM(Algorithm):
    """Cross-entropy on all source domains together (Vapnik 1998).

    Example:
        >>> algorithms.build("erm")
        ERM()
    """

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        loss = F.cross_entropy(self.network(batch.imu, batch.mask), batch.label)
        self.step(loss)
        return {"loss": loss.item()}
