"""Training batches by step number, from columns and cached teacher features; augmentation and normalisation come later.

A step is an address, not a position in a stream: any rank can ask for any step at any time, so there is no loader state
to save and nothing that another library could shard a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from imu_video.distributed import World
from imu_video.errors import ConfigError, nearest
from imu_video.shards.columns import Columns
from imu_video.shards.plan import device_plan, epoch_plan, steps_in_epoch
from imu_video.types import PairBatch, PairMeta

_CHUNK = 8192  # rows examined at a time when looking for missing teacher features


class PairLoader:
    """One rank's view of the training batches of a split.

    Samples take part when they have at least one allowed device and what else is asked for: a teacher feature (all
    finite), a skeleton. Each epoch shows every such sample at most once, with one of its devices.

    Args:
        columns: the split.
        teacher: (N, Dt) array-like of features in columns order, NaN where a sample lacks the teacher's modality; None
            for batches without.
        devices: placements to draw from; all when None.
        batch_size: rows of the global batch, over all ranks; divisible by the number of ranks.
        seed: determines order and devices, >= 0.
        world: this rank's place.
        all_devices: also give every allowed device of each window (``views``).
        skeleton: also give the skeleton of each window.

    Attributes:
        usable: (M,) int64 rows of the columns that take part.
        steps_per_epoch: full global batches in one epoch.

    Raises:
        ConfigError: unknown device, teacher of another length, batch larger than the usable samples or not divisible.

    Example:
        >>> loader = PairLoader(columns=columns, teacher=cache.rows("train"), batch_size=256, seed=0)  # doctest: +SKIP
        >>> loader.batch(loader.steps_per_epoch).imu.shape  # first batch of the second epoch  # doctest: +SKIP
        torch.Size([256, 6, 100])
    """

    def __init__(
        self,
        *,
        columns: Columns,
        teacher: np.ndarray | None = None,
        devices: Sequence[str] | None = None,
        batch_size: int,
        seed: int,
        world: World | None = None,
        all_devices: bool = False,
        skeleton: bool = False,
    ) -> None:
        self.columns = columns
        self.batch_size = batch_size
        self.world = world or World()
        self._teacher = teacher
        self._seed = seed
        if teacher is not None and (np.ndim(teacher) != 2 or len(teacher) != len(columns)):
            raise ConfigError(
                f"teacher features have shape {np.shape(teacher)}, expected (N, Dt) with N={len(columns)} samples "
                f"of split {columns.split!r}",
                hint="run `imu-video embed` for these shards",
            )
        if batch_size < 1 or batch_size % self.world.size:
            raise ConfigError(
                f"batch_size {batch_size} does not divide evenly over {self.world.size} ranks",
                hint=f"use a multiple of {self.world.size}",
            )
        allowed = np.zeros(len(columns.placements), dtype=bool)
        for device in columns.placements if devices is None else devices:
            if device not in columns.placements:
                raise ConfigError(f"the data has no device {device!r}{nearest(device, columns.placements)}")
            allowed[columns.placements.index(device)] = True
        self._allowed = allowed if all_devices else None
        self._skeleton = columns.skeleton if skeleton else None
        if skeleton and columns.skeleton is None:
            raise ConfigError(
                f"split {columns.split!r} has no skeletons", hint="build the data with window.skeleton_fps=..."
            )
        present = columns.present & allowed
        usable = present.any(axis=1)
        for wanted in (teacher, self._skeleton):
            usable &= True if wanted is None else _finite_rows(wanted)
        self.usable = np.flatnonzero(usable)
        self._present = present[self.usable]
        if len(self.usable) < batch_size:
            names = [columns.placements[i] for i in np.flatnonzero(allowed)]
            asked = "".join(["a teacher feature and " * (teacher is not None), "a skeleton and " * skeleton])
            raise ConfigError(
                f"split {columns.split!r}: {len(self.usable)} of {len(columns)} samples have {asked}a device among "
                f"{names}, batch_size is {batch_size}",
                hint="lower batch_size, allow more devices, or embed a modality that the samples have",
            )
        self.steps_per_epoch = steps_in_epoch(len(self.usable), batch_size)
        self._epoch = lru_cache(maxsize=2)(self._plan)

    def rows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The global batch of a step, alike on every rank: (batch_size,) rows of the columns and their devices."""
        if step < 0:
            raise ValueError(f"step must not be negative, got {step}")
        batches, devices = self._epoch(step // self.steps_per_epoch)
        local = batches[step % self.steps_per_epoch]
        return self.usable[local], devices[local]

    def batch(self, step: int) -> PairBatch:
        """This rank's rows of the batch of a step.

        Args:
            step: steps since the beginning of the run, >= 0; epochs follow each other.

        Returns:
            (B, C, T) windows in SI units with zeros where nothing was measured, their mask, where the rows come from,
            and what else was asked for; B = batch_size / ranks.
        """
        rows, devices = self.rows(step)
        mine = self.world.rows(self.batch_size)
        rows, devices = rows[mine], devices[mine]
        imu, mask = _measured(self.columns.imu[rows, devices])
        views, views_mask = None, None
        if self._allowed is not None:
            shown = np.array(self.columns.imu[rows])
            shown[:, ~self._allowed] = np.nan
            views, views_mask = _measured(shown)
        return PairBatch(
            imu=imu,
            mask=mask,
            teacher=None if self._teacher is None else _float32(self._teacher[rows]),
            views=views,
            views_mask=views_mask,
            skeleton=None if self._skeleton is None else _float32(self._skeleton[rows]),
            meta=PairMeta(
                sample=torch.from_numpy(rows),
                recording=torch.from_numpy(self.columns.recording_id[rows]),
                time=torch.from_numpy(self.columns.start[rows]),
                device=torch.from_numpy(devices),
                subject=torch.from_numpy(self.columns.subject_id[rows]),
            ),
        )

    def _plan(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        batches = epoch_plan(len(self.usable), batch_size=self.batch_size, seed=self._seed, epoch=epoch)
        return batches, device_plan(self._present, seed=self._seed, epoch=epoch)


def _measured(values: np.ndarray) -> tuple[Tensor, Tensor]:
    """Windows with zeros for NaN, and the mask of what was measured."""
    values = np.asarray(values, dtype=np.float32)
    mask = np.isfinite(values)
    values[~mask] = 0.0
    return torch.from_numpy(values), torch.from_numpy(mask)


def _float32(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(rows, dtype=np.float32))


def _finite_rows(array: np.ndarray) -> np.ndarray:
    """(N,) bool: rows of an (N, ...) array that are all finite; a block at a time, so a memory map stays on disk."""
    chunks = (array[i : i + _CHUNK] for i in range(0, len(array), _CHUNK))
    blocks = [np.isfinite(chunk).all(axis=tuple(range(1, chunk.ndim))) for chunk in chunks]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=bool)
