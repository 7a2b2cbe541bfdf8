"""V-REx: penalises differences between the risks of the source domains."""

from __future__ import annotations

from collections.abc import Sequence

from eval.algorithms.base import Algorithm, DomainBatch, algorithms, domain_losses
from imu_video.arguments import NonNegative, Whole


@algorithms.register("vrex")
class VREx(Algorithm):
    """Mean risk plus the variance of the risks over domains (Krueger et al. 2021, arXiv 2003.00688).

    L = mean_e l_e + w mean_e (l_e - mean_e l_e)^2, where w is 1 during the first ``anneal`` updates and ``penalty``
    afterwards. As published, the optimiser is reset there, even with a penalty of 1, which changes nothing else.

    Args:
        penalty: weight of the variance after annealing, at least 0; the paper sweeps up to 1e5.
        anneal: number of updates with weight 1, at least 0.
    """

    def __init__(self, *, penalty: NonNegative = 1.0, anneal: Whole = 500) -> None:
        super().__init__()
        self.penalty, self.anneal = penalty, anneal

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        if self.updates == self.anneal and self.anneal:
            # Adam's averages belong to the former weight; a large new one would make the first steps too long.
            self.optimizer = self.fresh_optimizer()
        risks = domain_losses(self.network(batch.imu, batch.mask), batch.label, self.domains)
        variance = ((risks - risks.mean()) ** 2).mean()
        weight = self.penalty if self.updates >= self.anneal else 1.0
        self.step(risks.mean() + weight * variance)
        return {"loss": risks.mean().item(), "variance": variance.item()}
