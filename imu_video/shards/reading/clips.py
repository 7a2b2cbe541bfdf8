"""Frames of stored clips by row, decoded by worker threads, for teachers that run while training; embed.py caches them.

Only the requested frames are decoded. Clips have a key frame every few frames (`mp4.GOP`), so seeking is cheap.
Each worker thread has a child process that decodes with one thread (`modalities.video_child`): a clip that ends its
decoder is a damaged sample, not the end of the run. Frames come back through shared memory, and each is verified
against its time stamp (`modalities.video_file`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imu_video.errors import ConfigError, ShardError
from imu_video.modalities.base import member_suffix
from imu_video.modalities.mp4 import decode_into
from imu_video.runtime.workers import WorkerLost
from imu_video.shards.damage import ErrorPolicy, check_policy, quarantine, quarantined
from imu_video.shards.reading.pipeline import SampleReader
from imu_video.shards.schema import Index

ClipChange = Callable[[Tensor, torch.Generator], Tensor]
"""Maps a clip (F, H, W, 3) uint8 and a generator to an augmented clip (`imu_video.transforms.video`)."""
_STREAM = "video"
_MEMBER = member_suffix(_STREAM)


class ClipReader:
    """Random access to the clips of a split.

    Args:
        index: a loaded index with clips.
        split: name of a split.
        frames: which frames of each clip, in order (a teacher's `sample_indices`); all when None.
        workers: number of decoding threads; 0 decodes in the calling thread.
        change: augmentation applied to every clip that is read with a seed.
        errors: ``raise``: a clip with damaged bytes is an error when the reader is constructed. Otherwise its sample is
            not `usable`; ``quarantine`` also lists it.

    Attributes:
        usable: (N,) bool, True where the sample has an intact clip.
        left_out: key of each sample with a damaged clip -> reason.
        shape: (F, H, W, 3) of one clip as it is returned.

    Raises:
        ConfigError: the data has no clips, or no such frame.
        ShardError: unknown split, or a damaged clip.

    Example:
        >>> from imu_video.shards import load_index
        >>> clips = ClipReader(load_index("data/demo"), "train", frames=[0, 4, 8], workers=2)
        >>> clips.read(np.array([5, 17])).shape
        torch.Size([2, 3, 32, 32, 3])
    """

    def __init__(
        self,
        index: Index,
        split: str,
        *,
        frames: Sequence[int] | None = None,
        workers: int = 1,
        change: ClipChange | None = None,
        errors: ErrorPolicy = "raise",
    ) -> None:
        check_policy(errors)
        spec = index.streams.get(_STREAM)
        if spec is None:
            raise ConfigError(f"{index.root} has no clips", hint="build the data with window.clip_fps=...")
        self.frames = list(range(spec.frames)) if frames is None else list(frames)
        if not self.frames or not all(0 <= i < spec.frames for i in self.frames) or workers < 0:
            raise ConfigError(f"frames {self.frames} of clips of {spec.frames}, {workers} workers: out of range")
        self.shape = (len(self.frames), *spec.shape[1:])
        self.change = change
        self._index, self._split, self._errors = index, split, errors
        self._reader = SampleReader(index, split, {_STREAM})
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="clips") if workers else None
        self.left_out: dict[str, str] = {} if errors == "raise" else quarantined(index, split)
        self.usable = np.array([self._intact(row) for row in range(len(self._reader))], dtype=bool)
        if errors == "quarantine":
            quarantine(index, split, self.left_out)

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, rows: np.ndarray, seeds: Sequence[int] | None = None) -> Tensor:
        """Read the configured frames of the given rows.

        Args:
            rows: (B,) rows of the split.
            seeds: one seed per row, which determines its augmentation; None returns clips as stored.

        Returns:
            (B, F, H, W, 3) uint8 RGB.

        Raises:
            ShardError: a clip cannot be decoded. With errors ``quarantine`` it is listed first, so that the next run
                leaves it out; leaving it out now would give this rank a batch plan that differs from the other ranks.
        """
        out = torch.empty((len(rows), *self.shape), dtype=torch.uint8)
        jobs = [(int(row), out[i], None if seeds is None else int(seeds[i])) for i, row in enumerate(rows)]
        if self._pool is None:
            for job in jobs:
                self._decode(job)
        else:
            list(self._pool.map(self._decode, jobs))
        return out

    def close(self) -> None:
        """Stop the decoding threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _intact(self, row: int) -> bool:
        """Whether a row's clip can be read; a clip that differs from the index is recorded as damaged."""
        key = self._reader.key(row)
        if key in self.left_out or not self._reader.has(row, _MEMBER):
            return False
        try:
            self._reader.member(row, _MEMBER)
        except ShardError as error:
            if self._errors == "raise":
                raise
            self.left_out[key] = error.message
            return False
        return True

    def _decode(self, job: tuple[int, Tensor, int | None]) -> None:
        row, place, seed = job
        key = self._reader.key(row)
        try:
            decode_into(self._reader.member(row, _MEMBER), self.frames, place.numpy())
        except WorkerLost:
            raise  # out of memory, or killed: no damage of the clip
        except (ShardError, ValueError) as error:
            reason = error.message if isinstance(error, ShardError) else str(error)
            hint = "data.errors=quarantine lists the sample, and leaves it out of the next run"
            if self._errors == "quarantine":
                quarantine(self._index, self._split, {key: reason})
                hint = "run the command again: the sample is quarantined now"
            raise ShardError(f"sample {key!r}: {reason}", hint=hint) from error
        if self.change is not None and seed is not None:
            place.copy_(self.change(place.clone(), torch.Generator().manual_seed(seed)))


def clip_seed(seed: int, step: int, row: int) -> int:
    """Seed for the augmentation of one clip in one step, independent of the number of ranks and workers.

    Example:
        >>> clip_seed(0, 1, 2) == clip_seed(0, 1, 2) != clip_seed(0, 2, 2)
        True
    """
    state: Any = np.random.SeedSequence([seed, step, row, 7]).generate_state(2, np.uint32)
    return int(state[0]) << 31 | int(state[1]) >> 1
