"""Training batches by step number, from columns and cached teacher features; augmentation and normalisation come later.

Batches are addressed by step: any rank can read any step at any time, so there is no loader state to save and nothing
that another library could shard a second time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from imu_video.errors import ConfigError
from imu_video.runtime.distributed import World
from imu_video.shards.batches.arrays import feature_statistics, window_motion
from imu_video.shards.batches.plan import Plan, device_plan, partners, second_device_plan
from imu_video.shards.batches.pool import ColumnPool, Rows
from imu_video.shards.reading.clips import ClipReader, clip_seed
from imu_video.shards.reading.columns import Columns
from imu_video.types import PairBatch

Pairs = Literal["true", "permuted", "redrawn"]
"""Pairing of windows with video: their own or, in controls, that of another window, fixed or redrawn per epoch."""


class PairLoader:
    """One rank's view of the training batches of a split, or of a mixture of splits of several data folders.

    A sample is used if it has at least one allowed device and all other requested data: a finite teacher feature and
    the requested streams. Each epoch uses one random device per sample. `Plan` defines an epoch.

    Args:
        columns: the split, or several to be mixed.
        teacher: for each split an (N, Dt) array-like of features in columns order, NaN where a sample lacks the
            teacher's modality; None for batches without.
        devices: allowed placements; None: all.
        batch_size: rows of the global batch, over all ranks; divisible by the number of ranks.
        seed: determines order and devices, >= 0.
        world: rank and world size.
        all_devices: also return every allowed device of each window (``devices``).
        second_device: also return the window of another allowed device of each sample (``imu_two``), drawn per epoch;
            of the same device where only one was worn.
        streams: streams of other modalities in the batches (``skeleton``); samples that lack one are skipped.
        clips: clips of each split, returned as the stream ``video``; samples without an intact clip are skipped.
        change_clips: apply the augmentations of the clip reader, different in each step (training); False: clips as
            stored.
        weights: share of each split of a mixture; None: one pass over all is an epoch.
        sampling: ``once`` or ``replacement``.
        leftover: ``drop`` or ``carry``.
        balance: with ``replacement``: ``subject`` or ``recording`` gives every subject or recording of a split the same
            probability, independent of its number of windows.
        weighting: with ``replacement``: ``std`` draws windows in proportion to the standard deviation of their
            acceleration (`window_motion`), so that windows without motion are rare.
        subjects_per_batch: number of subjects in every batch, with equally many windows each; None: subjects mix.
        pairs: ``true``, or a control: ``permuted`` pairs each window with the teacher feature and streams of another
            usable window of the pool, the same in all epochs, ``redrawn`` with a different one in each epoch
            (`partners`); ``meta`` is always that of the IMU window.
        texts: for each split (N,) numbers of its windows' texts, -1 for a window without one; None for batches without.
            A window needs no text to be used; a control exchanges texts as it exchanges teacher features.
        paired: for each split whether its windows are paired with the teacher; None: all. Batches of a mixture with
            unpaired windows mark them (`PairBatch.paired`), and a control exchanges features of paired windows only.

    Attributes:
        usable: (M,) int64 rows of the pool that are used.
        paired_rows: (P,) int64 those of them that are paired.
        steps_per_epoch: full global batches in one epoch.
        pool: the samples.
        plan: assignment of the usable samples to batches.

    Raises:
        ConfigError: unknown device, teacher of another length, splits that cannot be mixed, batch larger than the
            usable samples or not divisible.

    Example:
        >>> from imu_video.shards import load_index, open_cache, open_columns
        >>> index = load_index("data/demo")
        >>> columns, teacher = open_columns(index, "train"), open_cache(index).rows("train")
        >>> loader = PairLoader(columns=columns, teacher=teacher, batch_size=16, seed=0)
        >>> loader.batch(loader.steps_per_epoch).imu.shape  # first batch of the second epoch
        torch.Size([16, 6, 100])
    """

    def __init__(
        self,
        *,
        columns: Columns | Sequence[Columns],
        teacher: Rows | Sequence[Rows] | None = None,
        devices: Sequence[str] | None = None,
        batch_size: int,
        seed: int,
        world: World | None = None,
        all_devices: bool = False,
        second_device: bool = False,
        streams: Sequence[str] = (),
        clips: ClipReader | Sequence[ClipReader] | None = None,
        change_clips: bool = False,
        weights: Sequence[float] | None = None,
        sampling: Literal["once", "replacement"] = "once",
        leftover: Literal["drop", "carry"] = "drop",
        balance: Literal["none", "subject", "recording"] = "none",
        weighting: Literal["none", "std"] = "none",
        subjects_per_batch: int | None = None,
        pairs: Pairs = "true",
        texts: Sequence[np.ndarray] | None = None,
        paired: Sequence[bool] | None = None,
    ) -> None:
        self.seed = seed
        _check_divides(batch_size, world or World())  # first: opening the samples takes longer
        if balance != "none" and sampling != "replacement":
            raise ConfigError(
                f"balance is {balance!r}, which shows some samples more often than others", hint="sampling=replacement"
            )
        if weighting != "none" and sampling != "replacement":
            raise ConfigError(
                f"weighting is {weighting!r}, which shows some samples more often than others",
                hint="sampling=replacement",
            )
        splits = [columns] if isinstance(columns, Columns) else list(columns)
        features: Any = [teacher] if isinstance(columns, Columns) and teacher is not None else teacher
        readers: Any = [clips] if isinstance(clips, ClipReader) else clips
        self.pool = ColumnPool(splits, teachers=features, streams=streams, clips=readers, texts=texts)
        self._change_clips = change_clips
        allowed = self.pool.allowed(devices)
        self._shown = allowed if all_devices else None
        self._second = second_device
        present = self.pool.present & allowed
        # Decided before the plan is made: all ranks then plan the same samples, whichever rows are their own.
        usable = present.any(axis=1) & self.pool.finite()
        self.usable = np.flatnonzero(usable)
        self._paired: np.ndarray | None = None
        if paired is not None and not all(paired):
            self._paired = np.repeat(np.array(paired, bool), self.pool.sizes)
        self.paired_rows = self.usable if self._paired is None else self.usable[self._paired[self.usable]]
        self._present = present[self.usable]
        self._sizes = [int(usable[self.pool.part(number)].sum()) for number in range(len(splits))]
        names = [name for name, wanted in zip(self.pool.placements, allowed, strict=True) if wanted]
        asked = "".join(
            f"{what} and " for what in [*(["teacher features"] if teacher is not None else []), *self.pool.streams]
        )
        self._found = [
            f"split {split.split!r}: {size} of {len(split)} samples have {asked}a device among {names}"
            for split, size in zip(splits, self._sizes, strict=True)
        ]
        groups = {"subject": self.pool.subject, "recording": self.pool.recording}.get(balance)
        chances = None
        if weighting == "std":
            motion = np.concatenate([window_motion(split, devices) for split in splits])[self.usable]
            chances = np.maximum(motion, 1e-6 * max(motion.max(), 1e-6))  # no sample is impossible
        if groups is not None:
            chances = _even(groups[self.usable], chances)
        self._order: dict[str, Any] = {
            "weights": weights,
            "sampling": sampling,
            "leftover": leftover,
            "chances": chances,
        }
        if subjects_per_batch is not None:
            self._order |= {"groups": self.pool.subject[self.usable], "per_batch": subjects_per_batch}
        self._control = pairs
        self._arrange(batch_size, world or World())

    def rebatched(self, *, batch_size: int, world: World | None = None) -> Self:
        """The same samples in batches of another size; nothing is opened again.

        Args:
            batch_size: rows of the global batch, over all ranks.
            world: rank and world size.

        Raises:
            ConfigError: see `PairLoader`.
        """
        # A shallow copy shares memory maps and clip readers; only the plan and its caches are made again.
        other = copy.copy(self)
        other._arrange(batch_size, world or World())
        return other

    def _arrange(self, batch_size: int, world: World) -> None:
        _check_divides(batch_size, world)
        for found, size in zip(self._found, self._sizes, strict=True):
            # In a mixture a small folder is allowed, because its samples share batches with those of other folders.
            if size < (batch_size if len(self._sizes) == 1 else 1):
                raise ConfigError(
                    f"{found}, batch_size is {batch_size}",
                    hint=self._smaller_batch(size, world)
                    or "allow more devices (data.placements), embed a modality that the samples have, or build more "
                    "windows",
                )
        self.batch_size, self.world = batch_size, world
        try:
            self.plan = Plan(sizes=self._sizes, batch_size=batch_size, seed=self.seed, **self._order)
        except ValueError as error:
            plain = self._order["weights"] is None and "groups" not in self._order
            hint = self._smaller_batch(sum(self._sizes), world) if plain else None
            raise ConfigError(
                f"these samples cannot be put in batches: {error}", hint=hint or "lower data.batch_size"
            ) from error
        self.steps_per_epoch = self.plan.steps(1)
        # Random choices depend only on seed and epoch, but the caches wrap bound methods, so a copy needs its own.
        self._partners = lru_cache(maxsize=3)(self._draw_partners)
        self._devices = lru_cache(maxsize=3)(self._draw_devices)
        self._seconds = lru_cache(maxsize=3)(self._draw_seconds)

    def _smaller_batch(self, samples: int, world: World) -> str | None:
        """Hint with a batch size for this number of samples; None if there is none."""
        # At least two batches per epoch, or the four that `carry` needs; every rank takes the same number of rows.
        size = samples // (4 if self._order["leftover"] == "carry" else 2) // world.size * world.size
        return f"use a smaller batch: data.batch_size={size}" if size >= 2 else None

    def rows(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The global batch of a step, equal on every rank: (batch_size,) rows of the pool and their devices."""
        parts = self.plan.batch(step)
        devices = np.concatenate([self._devices(epoch)[rows] for epoch, rows in parts])
        return self.usable[np.concatenate([rows for _, rows in parts])], devices

    def _second_devices(self, step: int) -> np.ndarray:
        """(batch_size,) other devices of the rows of a step."""
        return np.concatenate([self._seconds(epoch)[rows] for epoch, rows in self.plan.batch(step)])

    def _seen(self, step: int) -> np.ndarray:
        """(batch_size,) rows of the pool whose video is paired with the windows of a step."""
        parts = self.plan.batch(step)
        return np.concatenate([self._seen_with(self.usable[rows], epoch) for epoch, rows in parts])

    def batch(self, step: int) -> PairBatch:
        """This rank's rows of the batch of a step.

        Args:
            step: steps since the beginning of the run, >= 0; epochs follow each other.

        Returns:
            (B, C, T) windows in SI units with zeros for missing samples, their mask, the origin of the rows, and the
            other requested data; B = batch_size / ranks.
        """
        rows, devices = self.rows(step)
        mine = self.world.rows(self.batch_size)
        rows, devices = rows[mine], devices[mine]
        imu, mask = self.pool.imu(rows, devices)
        # A control exchanges the paired video and not the window: everything on the IMU side stays that of the row.
        seen = self._seen(step)[mine]
        # One seed per step and sample: the change of a clip is the same on whichever rank it is decoded.
        seeds = [clip_seed(self.seed, step, row) for row in seen.tolist()] if self._change_clips else None
        imu_two, mask_two = self.pool.imu(rows, self._second_devices(step)[mine]) if self._second else (None, None)
        devices_imu, devices_mask = (None, None) if self._shown is None else self.pool.devices(rows, self._shown)
        return PairBatch(
            imu=imu,
            mask=mask,
            paired=self._marks(rows, step),
            teacher=self.pool.teacher(seen),
            text=self.pool.text(seen),
            imu_two=imu_two,
            mask_two=mask_two,
            devices=devices_imu,
            devices_mask=devices_mask,
            others={name: self.pool.stream(name, seen, seeds) for name in self.pool.streams},
            meta=self.pool.meta(rows, devices),
        )

    def _marks(self, rows: np.ndarray, step: int) -> Tensor | None:
        """(B,) whether the rows of a batch are paired; None in a mixture in which all are."""
        if self._paired is None:
            return None
        marks = self._paired[rows]
        if marks.sum() < 2:  # contrastive losses compare two pairs, and batch norm needs two rows
            raise ConfigError(
                f"batch {step}: {marks.sum()} of {len(rows)} windows are of folders with a teacher, expected 2 or more",
                hint="raise data.batch_size, or the weight of the folders with a teacher",
            )
        return torch.from_numpy(marks)

    @property
    def left_out(self) -> dict[str, str]:
        """Keys of damaged samples that are skipped, and the reasons."""
        return self.pool.left_out

    @property
    def has_teacher(self) -> bool:
        """Whether batches carry teacher features."""
        return self.pool.has_teacher

    def features(self, rows: np.ndarray) -> Tensor:
        """(B, Dt) teacher features that rows of the pool are paired with, in any number and order.

        Raises:
            ValueError: there is no teacher.
        """
        found = self.pool.teacher(self._seen_with(rows))
        if found is None:
            raise ValueError("these samples have no teacher features")
        return found

    def feature_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the teacher's features over the paired samples. Shapes: two (Dt,) float32.

        Raises:
            ValueError: there is no teacher.
        """
        return feature_statistics(lambda rows: self.features(rows).numpy(), self.paired_rows)

    def _seen_with(self, rows: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Rows whose video is paired with the windows of ``rows``: the same rows, except in a control."""
        return rows if self._control == "true" else self._partners(0 if self._control == "permuted" else epoch)[rows]

    def _draw_partners(self, epoch: int) -> np.ndarray:
        found = np.arange(len(self.pool))
        # Partners are drawn among the paired samples, because others have no video to exchange.
        own = self.paired_rows
        found[own] = own[partners(len(own), seed=self.seed, epoch=epoch)]
        return found

    def _draw_devices(self, epoch: int) -> np.ndarray:
        return device_plan(self._present, seed=self.seed, epoch=epoch)

    def _draw_seconds(self, epoch: int) -> np.ndarray:
        return second_device_plan(self._present, self._devices(epoch), seed=self.seed, epoch=epoch)


def _check_divides(batch_size: int, world: World) -> None:
    if batch_size < 1 or batch_size % world.size:
        raise ConfigError(
            f"batch_size {batch_size} does not divide evenly over {world.size} ranks",
            hint=f"use a multiple of {world.size}",
        )


def _even(groups: np.ndarray, chances: np.ndarray | None = None) -> np.ndarray:
    """(N,) chances that give every group the same sum, in proportion to ``chances`` within a group."""
    _, group = np.unique(groups, return_inverse=True)
    own = np.ones(len(groups)) if chances is None else chances
    return own / np.bincount(group, weights=own)[group]
