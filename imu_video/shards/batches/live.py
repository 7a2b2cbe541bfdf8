"""Batches whose teacher features are computed from clips when the batch is read; nothing is cached."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imu_video.shards.batches.arrays import feature_statistics
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.batches.pool import CLIPS
from imu_video.teachers.base import FrozenTeacher
from imu_video.types import PairBatch

_STATISTICS_ROWS = 1024  # windows for the statistics of a live teacher; each one needs a forward pass
_FORWARD_ROWS = 32  # clips per forward pass outside of batches


class LiveLoader(PairLoader):
    """A `PairLoader` whose teacher features are computed from the clips of each batch instead of read from a cache.

    Args:
        live: frozen teacher, on the device where it computes.
        other: arguments of `PairLoader`, ``clips`` among them.
    """

    def __init__(self, *, live: FrozenTeacher, **other: Any) -> None:
        super().__init__(**other)
        self._live = live

    def batch(self, step: int) -> PairBatch:
        batch = super().batch(step)
        others = dict(batch.others)
        # The student needs no frames, so they are dropped before the batch is copied to its device.
        return dataclasses.replace(batch, teacher=self._encode(others.pop(CLIPS)), others=others)

    @property
    def has_teacher(self) -> bool:
        return True

    def features(self, rows: np.ndarray) -> Tensor:
        pieces = []
        # In pieces, because decoded clips of all rows would not fit into memory.
        for start in range(0, len(rows), _FORWARD_ROWS):
            seen = self._seen_with(rows[start : start + _FORWARD_ROWS])
            pieces.append(self._encode(self.pool.stream(CLIPS, seen)))
        return torch.cat(pieces)

    def feature_statistics(self) -> tuple[Tensor, Tensor]:
        """See `PairLoader.feature_statistics`; over at most 1024 samples, evenly spaced, with clips as stored."""
        # Neighbouring rows are of one recording, so an even spacing covers all recordings; every rank gets the same
        # rows.
        some = self.usable[:: -(-len(self.usable) // _STATISTICS_ROWS)]
        features = self.features(some).numpy()  # computed once, read twice
        return feature_statistics(features.__getitem__, np.arange(len(some)))

    def _encode(self, clip: Tensor) -> Tensor:
        # A teacher without parameters and buffers has no device of its own and computes where the clips are.
        device = next((t.device for t in (*self._live.parameters(), *self._live.buffers())), clip.device)
        # Batches stay on the CPU until the training step moves all of their parts to its device.
        return self._live.encode(clip.to(device)).cpu()
