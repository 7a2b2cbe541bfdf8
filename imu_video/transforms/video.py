"""Augmentations of clips as functions of (clip, generator), with torchvision's v2 operations; for live teachers only.

Cached features were computed from the stored clip, so augmenting it would have no effect; that combination is an error.
All frames of a clip are changed in the same way. Only this module of the package imports torchvision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from imu_video import registry
from imu_video.arguments import Probability
from imu_video.errors import ConfigError


class ClipAugmentation(ABC):
    """Base class: checks the clip and decides whether it changes; subclasses pass ``p`` and implement `change`.

    Args:
        p: probability that a clip is changed, in [0, 1].
    """

    def __init__(self, *, p: float) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"{type(self).__name__}: p must be in [0, 1], got {p}")
        self.p = p

    def __call__(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """A changed copy of a clip, or the clip itself.

        Args:
            clip: (F, H, W, 3) uint8 RGB.
            generator: source of all random numbers.

        Returns:
            (F, H, W, 3) uint8 of the same size.

        Raises:
            ValueError: another shape or type.
        """
        if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != torch.uint8:
            raise ValueError(f"a clip is (F, H, W, 3) uint8, got {tuple(clip.shape)} {clip.dtype}")
        draw = torch.rand(8, generator=generator)  # always eight, so later values do not depend on this outcome
        if draw[0] >= self.p:
            return clip
        return self.change(clip.permute(0, 3, 1, 2), draw[1:].tolist()).permute(0, 2, 3, 1).contiguous()

    @abstractmethod
    def change(self, frames: Tensor, draws: Sequence[float]) -> Tensor:
        """Change (F, 3, H, W) uint8 frames, using seven numbers that are uniform in [0, 1)."""


@registry.clip_augmentations.register("crop")
class ClipCrop(ClipAugmentation):
    """Random crop, resized to the original size (Szegedy et al. 2015, as `v2.RandomResizedCrop`).

    Args:
        min_area: smallest share of the frame's area, in [0.05, 1]; 0.5 .. 0.9 keeps the subject in view.
        max_aspect: largest change of the aspect ratio, in [1, 4].
        p: probability, in [0, 1].

    Example:
        >>> clip = torch.zeros(4, 32, 48, 3, dtype=torch.uint8)
        >>> ClipCrop(min_area=0.5)(clip, torch.Generator().manual_seed(0)).shape
        torch.Size([4, 32, 48, 3])
    """

    def __init__(
        self,
        *,
        min_area: Annotated[float, Field(ge=0.05, le=1)] = 0.6,
        max_aspect: Annotated[float, Field(ge=1, le=4)] = 1.33,
        p: Probability = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.min_area = min_area
        self.max_aspect = max_aspect

    def change(self, frames: Tensor, draws: Sequence[float]) -> Tensor:
        height, width = frames.shape[-2:]
        area = self.min_area + (1 - self.min_area) * draws[0]
        aspect = self.max_aspect ** (2 * draws[1] - 1)
        rows = max(1, min(height, round(height * (area / aspect) ** 0.5)))
        columns = max(1, min(width, round(width * (area * aspect) ** 0.5)))
        top, left = int(draws[2] * (height - rows + 1)), int(draws[3] * (width - columns + 1))
        return tv.resized_crop(frames, top, left, rows, columns, [height, width], antialias=True)


@registry.clip_augmentations.register("flip")
class ClipFlip(ClipAugmentation):
    """Horizontal flip. The IMU data is not mirrored: `right_wrist` appears on the left side of the image.

    Args:
        p: probability, in [0, 1].
    """

    def __init__(self, *, p: Probability = 0.5) -> None:
        super().__init__(p=p)

    def change(self, frames: Tensor, draws: Sequence[float]) -> Tensor:
        return tv.horizontal_flip(frames)


@registry.clip_augmentations.register("colour")
class ClipColour(ClipAugmentation):
    """Random brightness, contrast, saturation and hue, the same for all frames of a clip (as `v2.ColorJitter`).

    Args:
        brightness, contrast, saturation: factors are uniform in [1 - x, 1 + x]; x in [0, 1].
        hue: shift of the hue in [-x, x] turns, x in [0, 0.5].
        p: probability, in [0, 1].
    """

    def __init__(
        self,
        *,
        brightness: Probability = 0.3,
        contrast: Probability = 0.3,
        saturation: Probability = 0.3,
        hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05,
        p: Probability = 0.8,
    ) -> None:
        super().__init__(p=p)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def change(self, frames: Tensor, draws: Sequence[float]) -> Tensor:
        steps = ((tv.adjust_brightness, self.brightness), (tv.adjust_contrast, self.contrast))
        for (operation, spread), draw in zip((*steps, (tv.adjust_saturation, self.saturation)), draws, strict=False):
            frames = operation(frames, 1 + spread * (2 * draw - 1))
        return tv.adjust_hue(frames, self.hue * (2 * draws[3] - 1)) if self.hue else frames


@registry.clip_augmentations.register("grey")
class ClipGrey(ClipAugmentation):
    """Conversion to grey.

    Args:
        p: probability, in [0, 1].
    """

    def __init__(self, *, p: Probability = 0.2) -> None:
        super().__init__(p=p)
        self._grey = v2.Grayscale(num_output_channels=3)

    def change(self, frames: Tensor, draws: Sequence[float]) -> Tensor:
        grey: Tensor = self._grey(frames)
        return grey


class ClipCompose:
    """Apply several augmentations in order.

    Example:
        >>> change = ClipCompose.build([{"name": "flip", "p": 1.0}])
        >>> clip = torch.arange(24, dtype=torch.uint8).reshape(1, 2, 4, 3)
        >>> bool((change(clip, torch.Generator()) == clip.flip(2)).all())
        True
    """

    def __init__(self, changes: Sequence[ClipAugmentation]) -> None:
        self.changes = list(changes)
        for change in self.changes:
            if not callable(change):
                raise ConfigError(f"clip augmentation {type(change).__name__} cannot be called")

    @classmethod
    def build(cls, entries: Sequence[Mapping[str, Any] | str]) -> ClipCompose:
        """Build from config entries of registered changes, in order.

        Raises:
            ConfigError: unknown name or argument.
        """
        return cls([registry.clip_augmentations.build(entry) for entry in entries])

    def __call__(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """A changed copy of a clip; see `ClipAugmentation`."""
        for change in self.changes:
            clip = change(clip, generator)
        return clip
