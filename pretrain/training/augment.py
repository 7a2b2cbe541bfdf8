"""Augmented batches and random draws of each step, equal for any number of processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from imu_video.runtime.distributed import GlobalDraws, World
from imu_video.transforms import Compose
from imu_video.types import PairBatch
from pretrain.training.state import step_seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderAugment:
    """Augmentations of single folders of a mixture in place of the common ones.

    Args:
        own: number of a folder -> its augmentations, None: none.
        training, validation: windows of each folder in the pools of both splits, in order.
    """

    own: Mapping[int, Compose | None]
    training: Sequence[int]
    validation: Sequence[int]

    def rows(self, folder: int, sample: Tensor, *, validation: bool) -> Tensor:
        """(B,) bool, True for rows of a folder. Shapes: sample (B,) int64 rows of the pool of a split."""
        sizes = self.validation if validation else self.training
        first = sum(sizes[:folder])
        return (sample >= first) & (sample < first + sizes[folder])


class Augmenter:
    """Augments windows in SI units, before the encoder normalises them, or in the encoder's normalised units.

    Args:
        augment: augmentations, None without.
        augmented_pair: whether the losses need a second window: an augmented copy of each, or of another device that
            the batches bring along.
        seed: of the run.
        world: this process among all.
        device: device of the batches.
        first: whether the first window of an augmented pair, and with it all windows and devices, is augmented.
        folders: augmentations of single folders of a mixture; None: the same for all.
        normalisation: mean and standard deviation (C, 1) of the normalised units; None: augment in SI units.
    """

    def __init__(
        self,
        augment: Compose | None,
        *,
        augmented_pair: bool,
        seed: int,
        world: World,
        device: torch.device,
        first: bool = True,
        folders: FolderAugment | None = None,
        normalisation: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.compose, self.augmented_pair, self.seed, self.world, self.device = (
            augment,
            augmented_pair,
            seed,
            world,
            device,
        )
        self.first, self.normalisation, self.folders = first, normalisation, folders

    def training(self, batch: PairBatch, number: int) -> PairBatch:
        """Global batch ``number`` augmented; the second window of a pair and each device use independent draws."""
        if not self.first:
            return self._with_second(batch, batch, number, "augment two")
        imu, mask = self._changed(batch, batch.imu, batch.mask, number, "augment")
        devices, devices_mask = batch.devices, batch.devices_mask
        if devices is not None and devices_mask is not None:
            # Draws per device, because sensors are mounted and disturbed independently of each other.
            pairs = [
                self._changed(batch, devices[:, v], devices_mask[:, v], number, f"augment device {v}")
                for v in range(devices.shape[1])
            ]
            devices, devices_mask = (torch.stack(part, dim=1) for part in zip(*pairs, strict=True))
        changed = dataclasses.replace(batch, imu=imu, mask=mask, devices=devices, devices_mask=devices_mask)
        return self._with_second(changed, batch, number, "augment two")

    def validation(self, batch: PairBatch, number: int) -> PairBatch:
        """Windows unchanged; the second window of a pair, if needed, is the same augmented copy at every validation."""
        return self._with_second(batch, batch, number, "validate two")

    def draws(self, number: int, purpose: str) -> GlobalDraws:
        """Random numbers of one global batch for one purpose."""
        generator = torch.Generator(device=self.device)
        generator.manual_seed(step_seed(self.seed, number, purpose))
        return GlobalDraws(generator, self.world)

    def _with_second(self, batch: PairBatch, source: PairBatch, number: int, purpose: str) -> PairBatch:
        if not self.augmented_pair:
            return batch
        if source.imu_two is not None and source.mask_two is not None:
            imu, mask = self._changed(source, source.imu_two, source.mask_two, number, purpose)
        else:
            imu, mask = self._changed(source, source.imu, source.mask, number, purpose)
        return dataclasses.replace(batch, imu_two=imu, mask_two=mask)

    def _changed(self, batch: PairBatch, imu: Tensor, mask: Tensor, number: int, purpose: str) -> tuple[Tensor, Tensor]:
        """Windows of the rows of a batch, each changed by the augmentations of its folder."""
        out, out_mask = self._composed(self.compose, imu, mask, number, purpose)
        if self.folders is None:
            return out, out_mask
        for folder, compose in self.folders.own.items():
            # All rows are changed and those of the folder kept: draws then do not depend on which rows a rank has.
            own, own_mask = self._composed(compose, imu, mask, number, f"{purpose}, folder {folder}")
            rows = self.folders.rows(folder, batch.meta.sample, validation=purpose.startswith("validate"))
            rows = rows.to(imu.device)[:, None, None]
            out, out_mask = torch.where(rows, own, out), torch.where(rows, own_mask, out_mask)
        return out, out_mask

    def _composed(
        self, compose: Compose | None, imu: Tensor, mask: Tensor, number: int, purpose: str
    ) -> tuple[Tensor, Tensor]:
        if compose is None:
            return imu, mask
        # A generator per purpose: adding the second window of a pair must not change how the first one is augmented.
        draws = self.draws(number, purpose)
        if self.normalisation is None:
            return compose(imu, mask, draws)
        mean, std = (x.to(imu.dtype) for x in self.normalisation)
        changed, changed_mask = compose(torch.where(mask, (imu - mean) / std, 0), mask, draws)
        # Back to SI units: the encoder normalises every window, augmented or not.
        return torch.where(changed_mask, changed * std + mean, 0), changed_mask
