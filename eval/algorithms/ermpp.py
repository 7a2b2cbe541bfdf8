"""ERM++: trains the classifier first, then the whole network, and predicts with averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.algorithms.base import Algorithm, DomainBatch, Network, algorithms
from imu_video.arguments import Count, Whole


@algorithms.register("ermpp")
class ERMPlusPlus(Algorithm):
    """ERM with a warm-up of the classifier and a running mean of the weights (Teterwak et al. 2023).

    The first ``linear_steps`` updates and one more train only the classifier; then an optimiser with empty averages
    trains the whole network. From update ``average_from`` on, predictions use the mean of the weights after update
    ``average_from - 1`` and all later ones, including running statistics; before, the current weights. Both counts are
    those of the published code.

    Args:
        linear_steps: updates that train only the classifier, less one; at least 0.
        average_from: first update that is averaged with the one before, at least 1.
    """

    def __init__(self, *, linear_steps: Whole = 500, average_from: Count = 600) -> None:
        super().__init__()
        self.linear_steps, self.average_from = linear_steps, average_from

    def extend(self) -> None:
        self._average: list[Network] = []  # in a list, so that it is not part of this module's state
        self._averaged = 0

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        if self.updates == self.linear_steps + 1:
            self.optimizer = self.fresh_optimizer()  # the classifier's averages belong to a fixed encoder
        # Without a graph the encoder gets no gradient, and Adam skips parameters without one.
        with torch.set_grad_enabled(self.updates > self.linear_steps):
            features = self.network.features(batch.imu, batch.mask)
        loss = F.cross_entropy(self.network.classifier(features), batch.label)
        self.step(loss)
        if self.updates >= self.average_from - 1:
            self._update_average()
        return {"loss": loss.item()}

    @torch.no_grad()
    def _update_average(self) -> None:
        if not self._average:
            self._average.append(copy.deepcopy(self.network))
            self._averaged = 1
            return
        self._averaged += 1
        current = self.network.state_dict()
        for name, value in self._average[0].state_dict().items():
            if value.is_floating_point():  # counters of batches stay as they are
                value.lerp_(current[name], 1 / self._averaged)

    def snapshot(self) -> dict[str, Tensor]:
        if not self._average:
            return super().snapshot()
        return {f"network.{name}": value.detach().clone() for name, value in self._average[0].state_dict().items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        super().restore(weights)
        self._average.clear()  # the restored weights are the average already

    def predict(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        network = self._average[0] if self._average else self.network
        network.train(self.training)
        out: Tensor = network(imu, mask)
        return out
