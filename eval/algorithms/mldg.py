"""MLDG: a gradient step on one domain should also reduce the loss on another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from eval.algorithms.base import Algorithm, DomainBatch, algorithms, domain_losses
from imu_video.arguments import NonNegative, Positive


@algorithms.register("mldg")
class MLDG(Algorithm):
    """First-order meta-learning over pairs of source domains (Li et al. 2018, arXiv 1710.03463).

    Domains in random order form cyclic pairs (i, j). With g_i the gradient of the risk of domain i and theta_i the
    network after the first step of a new Adam optimiser along it, the gradient is
    1/m sum (g_i + beta grad l_j(theta_i)). The first Adam step is theta - lr d / (|d| + 1e-8) with d = g + decay theta.

    Args:
        beta: weight of the second term, at least 0; 0 is ERM.
        inner_lr: learning rate of the trial step, above 0.
    """

    def __init__(self, *, beta: NonNegative = 1.0, inner_lr: Positive = 1e-2) -> None:
        super().__init__()
        self.beta, self.inner_lr = beta, inner_lr

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        names, parameters = zip(*((n, p) for n, p in self.network.named_parameters() if p.requires_grad), strict=True)
        risks = domain_losses(self.network(batch.imu, batch.mask), batch.label, self.domains)
        own = [_gradient(risk, parameters, keep=True) for risk in risks]
        total = [torch.stack(g).mean(dim=0) for g in zip(*own, strict=True)]
        order = torch.randperm(self.domains, generator=self.generator).tolist()
        other_risk = 0.0
        if self.beta:
            for i, j in zip(order, [*order[1:], order[0]], strict=True):
                stepped = [self._trial(p.detach(), g).requires_grad_() for p, g in zip(parameters, own[i], strict=True)]
                risk = self._risk(dict(zip(names, stepped, strict=True)), batches[j])
                for sum_, g in zip(total, _gradient(risk, stepped), strict=True):
                    sum_ += self.beta * g / self.domains
                other_risk += risk.item() / self.domains
        for parameter, gradient in zip(parameters, total, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        self.updates += 1
        return {"loss": risks.mean().item(), "other_loss": other_risk}

    def _trial(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """The parameter after the first step of a new Adam optimiser with the decay of the outer one."""
        decayed = gradient + self.adam.weight_decay * parameter
        return parameter - self.inner_lr * decayed / (decayed.abs() + 1e-8)

    def _risk(self, parameters: dict[str, Tensor], batch: DomainBatch) -> Tensor:
        """Risk of a domain at other parameters; the running statistics of the network are not changed."""
        # Batch norm updates its buffers in place during the call, so it gets copies.
        buffers = {name: b.clone() for name, b in self.network.named_buffers()}
        logits = functional_call(self.network, {**parameters, **buffers}, (batch.imu, batch.mask))
        return F.cross_entropy(logits, batch.label)


def _gradient(risk: Tensor, parameters: Sequence[Tensor], *, keep: bool = False) -> list[Tensor]:
    """Gradients of a risk, zero for parameters that it does not depend on."""
    found = torch.autograd.grad(risk, parameters, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
