"""Augmentations of the mask: removal of samples, channels or sensors, and shifts in time; no values are invented.

A row with measured samples keeps at least one, except in `shift` if all of them move out of the window.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from imu_video.arguments import Probability
from imu_video.registry import augmentations
from imu_video.transforms.base import Augmentation, GlobalDraws


@augmentations.register("cutout")
class Cutout(Augmentation):
    """Remove one contiguous part of the window on all channels, as when a device loses its connection.

    Args:
        max_fraction: the removed share of the window is uniform in [0, max_fraction]; in [0, 0.95].
        p: probability per row, in [0, 1].

    Example:
        >>> imu = torch.ones(1, 6, 100)
        >>> out, mask = Cutout()(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool((out[~mask] == 0).all())
        True
    """

    def __init__(self, *, max_fraction: Annotated[float, Field(ge=0, le=0.95)] = 0.25, p: Probability = 0.5) -> None:
        super().__init__(p=p)
        self.max_fraction = max_fraction

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        samples = imu.shape[-1]
        length = draws.uniform(len(imu)) * self.max_fraction * samples
        start = draws.uniform(len(imu)) * (samples - length)
        first, last = (edge.to(imu.device)[:, None] for edge in (start, start + length))
        time = torch.arange(samples, device=imu.device)
        kept = mask & ~((time >= first) & (time < last))[:, None]
        # A row whose measured samples are all in the removed part keeps them.
        return imu, torch.where(kept.any((1, 2), keepdim=True), kept, mask)


@augmentations.register("crop")
class Crop(Augmentation):
    """Keep one contiguous part of the window, as of a shorter window; the samples before and after become missing.

    Nothing is resampled, so tempo and band stay as they were. `crop_resize` changes the tempo instead.

    Args:
        min_fraction: the kept share of the window is uniform in [min_fraction, 1]; in [0.02, 1].
        p: probability per row, in [0, 1].

    Example:
        >>> imu = torch.ones(1, 6, 100)
        >>> crop = Crop(min_fraction=0.5, p=1)
        >>> _, mask = crop(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> 50 <= int(mask[0, 0].sum()) <= 100
        True
    """

    def __init__(self, *, min_fraction: Annotated[float, Field(ge=0.02, le=1)] = 0.2, p: Probability = 0.5) -> None:
        super().__init__(p=p)
        self.min_fraction = min_fraction

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        samples = imu.shape[-1]
        length = (self.min_fraction + (1 - self.min_fraction) * draws.uniform(len(imu))) * samples
        start = draws.uniform(len(imu)) * (samples - length)
        first, last = (edge.to(imu.device)[:, None] for edge in (start, start + length))
        time = torch.arange(samples, device=imu.device)
        kept = mask & ((time + 0.5 >= first) & (time + 0.5 < last))[:, None]
        # A row without measured samples in the kept part is unchanged.
        return imu, torch.where(kept.any((1, 2), keepdim=True), kept, mask)


@augmentations.register("shift")
class Shift(Augmentation):
    """Shift the window in time; samples without a source become missing.

    Args:
        max_fraction: the shift as a share of the window is uniform in [-max_fraction, max_fraction]; in [0, 0.9].
        p: probability per row, in [0, 1].

    Example:
        >>> imu = torch.ones(1, 6, 100)
        >>> out, mask = Shift()(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> bool(mask.all())
        False
    """

    def __init__(self, *, max_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.1, p: Probability = 1.0) -> None:
        super().__init__(p=p)
        self.max_fraction = max_fraction

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        samples = imu.shape[-1]
        step = ((2 * draws.uniform(len(imu)) - 1) * self.max_fraction * samples).round().long().to(imu.device)
        source = torch.arange(samples, device=imu.device) - step[:, None]
        inside = (source >= 0) & (source < samples)
        index = source.clamp(0, samples - 1)[:, None].expand_as(imu)
        return imu.gather(-1, index), mask.gather(-1, index) & inside[:, None]


@augmentations.register("drop_channel")
class DropChannel(Augmentation):
    """Remove one random channel; the last measured channel of a row is kept.

    Args:
        p: probability per row, in [0, 1].

    Example:
        >>> imu = torch.ones(1, 6, 4)
        >>> _, mask = DropChannel(p=1)(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> int(mask[0, :, 0].sum())
        5
    """

    def __init__(self, *, p: Probability = 0.2) -> None:
        super().__init__(p=p)

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        # The minimum of uniform draws selects every measured channel with the same probability; missing ones get 2.0.
        measured = mask.any(-1)
        order = draws.uniform(len(imu), imu.shape[1]).to(imu.device).masked_fill(~measured, 2.0)
        lost = torch.nn.functional.one_hot(order.argmin(1), imu.shape[1]).bool()
        lost &= (measured.sum(1) > 1)[:, None]
        return imu, mask & ~lost[..., None]


@augmentations.register("drop_sensor")
class DropSensor(Augmentation):
    """Remove the accelerometers or the gyroscopes, but not both: many wearables have only one.

    A row in which the other sensor has no measured samples is unchanged, and so is a window with a single sensor.

    Args:
        p: probability per row, in [0, 1].
        accelerometer: probability that the removed sensor is the accelerometer, in [0, 1].

    Example:
        >>> imu = torch.ones(1, 6, 4)
        >>> drop = DropSensor(p=1, accelerometer=0)
        >>> _, mask = drop(imu, torch.ones_like(imu, dtype=torch.bool), torch.Generator().manual_seed(0))
        >>> mask[0, :, 0].tolist()
        [True, True, True, False, False, False]
    """

    def __init__(self, *, p: Probability = 0.2, accelerometer: Probability = 0.25) -> None:
        super().__init__(p=p)
        self.accelerometer = accelerometer

    def change(self, imu: Tensor, mask: Tensor, draws: GlobalDraws) -> tuple[Tensor, Tensor]:
        first = (draws.uniform(len(imu)) < self.accelerometer).to(imu.device)
        kept = mask.clone()
        layout = self.layout(imu)
        if layout.acc and layout.gyr:
            rows = list(layout.acc), list(layout.gyr)
            acc, gyr = (mask[:, r].any((1, 2)) for r in rows)
            kept[:, rows[0]] &= ~(first & gyr)[:, None, None]
            kept[:, rows[1]] &= ~(~first & acc)[:, None, None]
        return imu, kept
