"""Common parts of augmentations: base class and composition; random numbers are in runtime/distributed.py.

An augmentation takes a window (B, C, T) in SI units, its mask and a generator, and returns a new window and mask. Every
row is changed with probability ``p``, independently. The number of random values depends only on the shape, so later
values of a generator do not depend on earlier outcomes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from imu_video import registry
from imu_video.errors import ConfigError
from imu_video.runtime.distributed import GlobalDraws
from imu_video.transforms.layout import Layout, canonical_layout


class Augmentation(ABC):
    """Base class of augmentations: checks the window, selects the rows to change, keeps missing samples at zero.

    Subclasses take keyword-only arguments, pass ``p`` to this constructor, and implement `change`.

    Args:
        p: probability that a row is changed, in [0, 1].

    Attributes:
        named: layout of the channels of the windows; None: the canonical six, or an accelerometer alone.
    """

    named: Layout | None = None

    def __init__(self, *, p: float) -> None:
        # A user's subclass may declare ``p`` as a plain float, which the registry does not check.
        if not 0 <= p <= 1:
            raise ConfigError(f"{type(self).__name__}: p must be in [0, 1], got {p}")
        self.p = p

    def __call__(self, imu: Tensor, mask: Tensor, generator: torch.Generator | GlobalDraws) -> tuple[Tensor, Tensor]:
        """A changed copy of a window and its mask.

        Args:
            imu: (B, C, T) float, the channels of ``named``; without it canonical channels in SI units (C = 6, or 3 for
                an accelerometer only).
            mask: (B, C, T) bool, True where measured.
            generator: source of all random numbers; GlobalDraws for several ranks.

        Raises:
            ValueError: shapes that are not (B, C, T) with the C of ``named``, or without it 3 or 6.
        """
        counts = (3, 6) if self.named is None else (len(self.named.owner),)
        if imu.ndim != 3 or imu.shape[1] not in counts or mask.shape != imu.shape or mask.dtype != torch.bool:
            wanted = "6 (or 3: accelerometer only)" if self.named is None else str(counts[0])
            raise ValueError(
                f"imu and a bool mask must be (B, C, T) with C = {wanted}, got "
                f"{tuple(imu.shape)} and {mask.dtype} {tuple(mask.shape)}"
            )
        draws = generator if isinstance(generator, GlobalDraws) else GlobalDraws(generator)
        chosen = (draws.uniform(len(imu)) < self.p).to(imu.device)[:, None, None]
        # All rows are changed and the selected ones kept, so that the number of random values does not depend on ``p``.
        changed, changed_mask = self.change(imu, mask, draws)
        out_mask = torch.where(chosen, changed_mask, mask)
        out = torch.where(chosen, changed, imu)
        return torch.where(out_mask, out, 0), out_mask

    def layout(self, imu: Tensor) -> Layout:
        """Which channels of a window belong together."""
        return canonical_layout(imu.shape[1]) if self.named is None else self.named

    @abstractmethod
    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        """Change every row and return new tensors; values where the new mask is False are ignored."""


class Compose:
    """Apply several augmentations in order.

    Example:
        ``Compose.build([{"name": "rotate", "max_degrees": 30}, {"name": "jitter"}])(imu, mask, generator)``
    """

    def __init__(self, augmentations: Sequence[Augmentation]) -> None:
        self.augmentations = list(augmentations)

    @classmethod
    def build(cls, entries: Sequence[Mapping[str, Any] | str], *, channels: Mapping[str, str] | None = None) -> Compose:
        """Build from config entries of registered augmentations, in order; an empty list changes nothing.

        Args:
            entries: of the registry.
            channels: name -> unit of the channels of the windows, in order; None: the canonical channels.
        """
        built = [registry.augmentations.build(entry) for entry in entries]
        for augmentation in built if channels is not None else ():
            augmentation.named = Layout.of(channels or {})
        return cls(built)

    def __call__(self, imu: Tensor, mask: Tensor, generator: torch.Generator | GlobalDraws) -> tuple[Tensor, Tensor]:
        """A changed copy of a window and its mask; see `Augmentation`."""
        for augmentation in self.augmentations:
            imu, mask = augmentation(imu, mask, generator)
        return imu, mask
