"""Group DRO: gives the source domain with the highest risk the largest weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, algorithms, domain_losses
from imu_video.arguments import NonNegative


@algorithms.register("groupdro")
class GroupDRO(Algorithm):
    """Distributionally robust risk with exponentiated weights (Sagawa et al. 2020, arXiv 1911.08731).

    q_e <- q_e exp(eta l_e), normalised to sum 1; L = sum_e q_e l_e.

    Args:
        eta: step size of the weights, at least 0; 0 gives the mean over domains. HAROOD: default 1; paper: 0.01.
    """

    q: Tensor

    def __init__(self, *, eta: NonNegative = 1.0) -> None:
        super().__init__()
        self.eta = eta

    def extend(self) -> None:
        self.register_buffer("q", torch.full((self.domains,), 1 / self.domains))

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        risks = domain_losses(self.network(batch.imu, batch.mask), batch.label, self.domains)
        # Computed in logarithms, because exp(eta l) overflows when the initial loss is large.
        self.q = torch.softmax(self.q.log() + self.eta * risks.detach(), dim=0)
        loss = (self.q * risks).sum()
        self.step(loss)
        return {"loss": loss.item(), "largest_weight": self.q.max().item()}
