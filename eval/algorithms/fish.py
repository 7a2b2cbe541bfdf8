"""Fish: aligns the gradients of the domains by first-order meta-steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field

from eval.algorithms.base import Algorithm, DomainBatch, algorithms


@algorithms.register("fish")
class Fish(Algorithm):
    """Inter-domain gradient matching (Shi et al. 2022, arXiv 2104.09937, algorithm 1).

    A copy of the network takes one Adam step on each domain in turn (the inner optimiser keeps its state between
    updates). Then theta <- theta + meta_lr (theta_copy - theta), also for running statistics but not for counters
    (methods 4.7).

    Args:
        meta_lr: fraction of the step towards the copy, in (0, 1].
    """

    def __init__(self, *, meta_lr: Annotated[float, Field(gt=0, le=1)] = 0.1) -> None:
        super().__init__()
        self.meta_lr = meta_lr

    def extend(self) -> None:
        self._copy = [copy.deepcopy(self.network)]  # in a list, so that it is not part of this module's state
        self._inner = self.adam.build(self._copy[0].parameters(), encoder=self._copy[0].encoder.parameters())

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        self.join(batches)  # only for its checks: the copy takes the batches one by one
        clone = self._copy[0]
        clone.load_state_dict(self.network.state_dict())
        clone.train(self.network.training)
        losses = []
        for batch in batches:
            loss = F.cross_entropy(clone(batch.imu, batch.mask), batch.label)
            self._inner.zero_grad(set_to_none=True)
            loss.backward()
            self._inner.step()
            losses.append(loss.item())
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(clone.state_dict()[name], self.meta_lr)
        self.updates += 1
        return {"loss": sum(losses) / len(losses)}
