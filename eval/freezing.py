"""Networks of encoders and a head whose encoders can be excluded from training; no architecture and no schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from torch import nn


class EncoderNetwork(nn.Module, ABC):
    """Base of a network with one or more encoders and a head.

    Attributes:
        frozen: whether the encoders are excluded from training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False

    @abstractmethod
    def encoders(self) -> list[nn.Module]:
        """The encoders: what `freeze` excludes from training."""

    def freeze(self, frozen: bool) -> None:
        """Exclude the encoders from training, including their running statistics, or include them again."""
        self.frozen = frozen
        for encoder in self.encoders():
            encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen encoders stay in evaluation mode."""
        super().train(mode)
        # In training mode batch norm would update the running statistics of an encoder that must not change.
        if self.frozen:
            for encoder in self.encoders():
                encoder.eval()
        return self
