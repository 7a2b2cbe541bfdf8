"""Adam and AdamW, one parameter after the other (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class NaiveAdam:
    """L2 decay in the gradient, or ``decoupled`` of the weights; ``amsgrad``: largest moments (Reddi et al. 2018)."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        *,
        lr: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        decoupled: bool = False,
        amsgrad: bool = False,
    ) -> None:
        self.parameters, self.lr, self.betas = list(parameters), lr, betas
        self.weight_decay, self.decoupled, self.amsgrad = weight_decay, decoupled, amsgrad
        self.largest: dict[int, Tensor] = {}
        self.first: dict[int, Tensor] = {}
        self.second: dict[int, Tensor] = {}
        self.steps: dict[int, int] = {}

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None]) -> None:
        b1, b2 = self.betas
        for i, (p, g) in enumerate(zip(self.parameters, gradients, strict=True)):
            if g is None:
                continue
            d = g if self.decoupled else g + self.weight_decay * p
            self.steps[i] = self.steps.get(i, 0) + 1
            self.first[i] = b1 * self.first.get(i, torch.zeros_like(p)) + (1 - b1) * d
            self.second[i] = b2 * self.second.get(i, torch.zeros_like(p)) + (1 - b2) * d * d
            mean = self.first[i] / (1 - b1 ** self.steps[i])
            self.largest[i] = torch.maximum(self.largest.get(i, self.second[i]), self.second[i])
            square = (self.largest[i] if self.amsgrad else self.second[i]) / (1 - b2 ** self.steps[i])
            if self.decoupled:
                p *= 1 - self.lr * self.weight_decay
            p -= self.lr * mean / (square.sqrt() + 1e-8)
