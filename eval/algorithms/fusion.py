"""FusionActNet's training: a gate between two groups of classes and an expert for each, by one likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from eval.algorithms.base import Algorithm, DomainBatch, algorithms
from imu_video.arguments import Count
from imu_video.encoders.base import masked_mean
from imu_video.errors import ConfigError

Group = Annotated[int, Field(ge=0, le=1)]
"""Of a class: 0 static, 1 dynamic."""


class FusionHead(nn.Module):
    """Log-probabilities of classes from two experts and a gate (arXiv 2310.02011).

        log p(y) = log sigmoid(s_g w) + log softmax_g(expert_g)(y),     g = group of y,  s_0 = 1, s_1 = -1

    The softmax of an expert is over the classes of its group. The probabilities of all classes therefore sum to 1, and
    the negative log-likelihood is that of the gate plus that of the expert of the right group: neither expert learns
    from windows of the other group. Softmax of these probabilities, as in the released code, would be a second softmax:
    its loss does not vanish for a confident right answer.

    Args:
        width: E.
        classes: M, at least 2.
        parts: columns of the feature for ``static``, ``dynamic`` and ``gate``; empty: all columns for each.

    Shapes: (B, E) -> (B, M).

    Example:
        >>> head = FusionHead(width=4, classes=3)
        >>> head.set_groups(torch.tensor([0, 1, 1]))
        >>> round(head(torch.zeros(1, 4)).exp().sum().item(), 5)
        1.0
    """

    groups: Tensor
    known: Tensor

    def __init__(self, *, width: int, classes: int, parts: dict[str, slice] | None = None) -> None:
        super().__init__()
        names = ("static", "dynamic", "gate")
        given = parts or {}
        self.columns = {name: given[name] if set(names) <= set(given) else slice(0, width) for name in names}
        wide = {name: len(range(*part.indices(width))) for name, part in self.columns.items()}
        self.experts = nn.ModuleList(nn.Linear(wide[name], classes) for name in names[:2])
        self.gate = nn.Linear(wide["gate"], 1)
        self.register_buffer("groups", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("known", torch.zeros((), dtype=torch.bool))

    def set_groups(self, groups: Tensor) -> None:
        """Assign each class to the static (0) or the dynamic expert (1). Shapes: (M,) int64.

        Raises:
            ConfigError: another number of classes, other values, or a group without classes.
        """
        found = groups.tolist()
        if len(found) != len(self.groups) or set(found) != {0, 1}:
            raise ConfigError(
                f"fusion: groups {found}, expected one 0 (static) or 1 (dynamic) for each of {len(self.groups)} "
                "classes, and at least one class in each group"
            )
        self.groups.copy_(groups)
        self.known.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        """Log-probabilities; before the groups are known, all classes belong to the static expert."""
        features = features.to(self.gate.weight.dtype)
        chosen = self.gate(features[:, self.columns["gate"]])
        log_p = features.new_zeros(len(features), len(self.groups), dtype=chosen.dtype)
        for number, name in enumerate(("static", "dynamic")):
            own = self.groups == number
            scores = self.experts[number](features[:, self.columns[name]])
            inside = scores.masked_fill(~own, float("-inf")).log_softmax(1)
            log_p = torch.where(own, inside + F.logsigmoid(chosen if number == 0 else -chosen), log_p)
        return log_p


def split_by_movement(movement: Tensor) -> Tensor:
    """Two groups of classes, divided at the largest gap between the logarithms of their movement.

    Args:
        movement: (M,) mean movement of the windows of each class, at least 0; M at least 2.

    Shapes: -> (M,) int64, 0 for the classes that move less.

    Example:
        >>> split_by_movement(torch.tensor([0.02, 1.1, 0.9, 0.01])).tolist()
        [0, 1, 1, 0]
    """
    order = movement.argsort()
    steps = movement.clamp(min=1e-6).log()[order].diff()
    groups = torch.zeros(len(movement), dtype=torch.long, device=movement.device)
    groups[order[int(steps.argmax()) + 1 :]] = 1
    return groups


@algorithms.register("fusion")
class Fusion(Algorithm):
    """Two experts and a gate instead of one linear classifier (FusionActNet, arXiv 2310.02011).

    Negative log-likelihood of `FusionHead` on all source domains together. The experts and the gate read the parts
    ``static``, ``dynamic`` and ``gate`` of the encoder's features (encoder `fusion_actnet`), or all features of any
    other encoder. With disjoint parts this is the separate training of two experts and a gate in one: the likelihood is
    a sum of their terms, and each term reaches one of them only.

    Args:
        groups: for each class, in the order of the scenario's labels, 0 for the static expert or 1 for the dynamic one,
            each in [0, 1]. None: found from the training windows, divided at the largest gap between the mean movements
            of classes.
        look: updates in which movements are collected and nothing is trained, until every class was seen; 5. Not used
            with ``groups``.

    Raises:
        ConfigError: groups that do not fit the classes, or none for features that were computed in advance.

    Example:
        >>> algorithms.build({"name": "fusion", "groups": [0, 0, 0, 1, 1, 1]})
        Fusion()
    """

    def __init__(self, *, groups: Sequence[Group] | None = None, look: Count = 5) -> None:
        super().__init__()
        self.given, self.look = groups, look

    def extend(self) -> None:
        classes = self.network.classifier.out_features
        encoder = self.network.encoder
        head = FusionHead(width=encoder.feature_dim, classes=classes, parts=getattr(encoder, "parts", {}))
        self.head = head.to(self.network.classifier.weight)
        self.network.classifier = self.head  # type: ignore[assignment]
        if self.given is not None:
            self.head.set_groups(torch.tensor(list(self.given)))
        self.register_buffer("total", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(classes, dtype=torch.float64))

    total: Tensor
    count: Tensor

    def update(self, batches: Sequence[DomainBatch]) -> dict[str, float]:
        batch = self.join(batches)
        if not bool(self.head.known):
            return self._watch(batch)
        loss = F.nll_loss(self.network(batch.imu, batch.mask), batch.label)
        self.step(loss)
        return {"loss": loss.item()}

    @torch.no_grad()
    def _watch(self, batch: DomainBatch) -> dict[str, float]:
        if batch.imu.ndim != 3:
            raise ConfigError(
                "fusion: groups of classes are found from windows, but features were computed in advance",
                hint="state them: groups: [0, 0, 0, 1, 1, 1], in the order of the labels",
            )
        x = self.network.encoder.normalise(batch.imu, batch.mask)
        away = (x - masked_mean(x, batch.mask, -1)).abs()
        movement = masked_mean(away.flatten(1), batch.mask.flatten(1), 1)[:, 0].double()
        self.total.index_add_(0, batch.label, movement)
        self.count.index_add_(0, batch.label, torch.ones_like(movement))
        self.updates += 1
        if self.updates >= self.look and bool((self.count > 0).all()):
            self.head.set_groups(split_by_movement(self.total / self.count))
        return {"movement": float(movement.mean())}
