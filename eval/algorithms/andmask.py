"""AND-mask: parameters are updated only where the gradients of the domains agree in sign."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eval.algorithms.base import Algorithm, DomainBatch, algorithms, domain_losses
from imu_video.arguments import Probability


@algorithms.register("andmask")
class ANDMask(Algorithm):
    """Keeps gradient components whose signs agree over domains (Parascandolo et al. 2021, arXiv 2009.00329).

    keep = |mean_e sign(g_e)| >= tau;  g = keep * mean_e g_e / (1e-10 + kept share of the tensor).

    Args:
        tau: required agreement, in [0, 1]; 1 keeps components on which all domains agree, 0 keeps everything.
    """

    def __init__(self, *, tau: Probability = 1.0) -> None:
        super().__init__()
        self.tau = tau

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        risks = domain_losses(self.network(batch.imu, batch.mask), batch.label, self.domains)
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        gradients = [torch.autograd.grad(risk, parameters, retain_graph=True, allow_unused=True) for risk in risks]
        kept = 0.0
        for parameter, of_domains in zip(parameters, zip(*gradients, strict=True), strict=True):
            if of_domains[0] is None:  # the loss does not depend on this parameter
                parameter.grad = None
                continue
            g = torch.stack(of_domains)
            # The mean of signs is rounded, so the comparison has a tolerance.
            keep = (g.sign().mean(dim=0).abs() >= self.tau - 1e-6).to(g.dtype)
            # Dividing by the kept share restores the size of the step, which masking would shrink.
            parameter.grad = keep * g.mean(dim=0) / (1e-10 + keep.mean())
            kept += keep.sum().item()
        self.optimizer.step()
        self.updates += 1
        return {"loss": risks.mean().item(), "kept": kept / sum(p.numel() for p in parameters)}
