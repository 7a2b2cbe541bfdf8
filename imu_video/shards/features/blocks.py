"""A frozen teacher's raw features, shard by shard, as finished pieces of a journal; embed.py arranges them."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from imu_video.errors import DataError, TeacherCacheError
from imu_video.modalities.base import modality_of, stream_name
from imu_video.registry import load_plugin, teachers
from imu_video.runtime.files import open_atomic
from imu_video.runtime.journal import Journal
from imu_video.runtime.logging import log_progress
from imu_video.runtime.references import reread
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import Sample, read_samples
from imu_video.shards.reading.teacher_cache import WEIGHTS_FILE, open_cache, read_caches
from imu_video.shards.schema import Index, SplitEntry
from imu_video.teachers.base import FrozenTeacher

_M_ARENA_MAX, _M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -8, -1, -3  # malloc.h of glibc
MALLOC_OPTIONS = ("MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Environment variables of glibc's allocator. If one is set, embedding does not change the allocator."""
logger = logging.getLogger(__name__)
Block = tuple[str, int]
"""A split and the number of one of its shards. Batches never reach over a block, so that its rows are the same bytes
whoever computes it."""


class SampleCount(NamedTuple):
    """Number of finished samples of a split before and after one of its blocks, and of all its samples."""

    before: int
    after: int
    total: int


def block_name(block: Block) -> str:
    """Name of a block's piece in a journal."""
    split, number = block
    return f"{split}-{number:06d}"


@dataclass
class EmbedBlock:
    """Task for an engine: raw features of the samples of one shard.

    Args:
        root: the data folder.
        teacher: registered name and all arguments.
        weights: fitted weights, or None.
        camera: name of the video; None for the default one.
        batch_size: samples per forward pass.
        device: device of the teacher; ``cuda`` distributes workers over all GPUs.
        plugins: files that register teachers, imported first.
        journal: held open by whoever started the engine.
        counts: of every block that is to be done, for progress records; logged where the task runs in the process that
            started the job.
    """

    root: Path
    teacher: Mapping[str, Any]
    weights: Path | None
    camera: str | None
    batch_size: int
    device: str
    plugins: tuple[str, ...]
    journal: Journal
    counts: Mapping[Block, SampleCount] = field(default_factory=dict)
    model: FrozenTeacher | None = None
    index: Index | None = None

    def __call__(self, block: Block) -> None:
        """Compute and store (N, width) float32 rows, NaN where a sample lacks the modality.

        Raises:
            ShardError: a damaged shard.
        """
        index, model = self._open()
        split, number = block
        rows = np.full((index.split(split).shards[number].samples, model.projection.width), np.nan, np.float32)

        def work(numbers: list[int], samples: list[Sample]) -> int:
            inputs = modality_of(model.modality).collate(
                [inputs_of(index, sample, model, self.camera) for sample in samples]
            )
            rows[numbers] = model.raw_features(inputs.to(self.device)).cpu().numpy()
            return numbers[-1] + 1

        batches = batches_of(index, block, model, self.batch_size, self.camera)
        for done in _in_threads(work, batches, on_cpu=self.device == "cpu"):
            count = self.counts.get(block)
            if count is not None and count.before + done < count.after:  # the caller logs the finished block
                log_progress(logger, count.before + done, count.total, "samples", split)
        file = f"{block_name(block)}.npy"
        with open_atomic(self.journal.folder / file, sync=False) as opened:  # the journal compares its hash
            np.save(opened, rows, allow_pickle=False)
        self.journal.finish(block_name(block), {}, file=file)

    def _open(self) -> tuple[Index, FrozenTeacher]:
        if self.index is None or self.model is None:
            for plugin in self.plugins:
                load_plugin(plugin)
            self.index = load_index(self.root)
            self.model = teachers.build(self.teacher)
            if self.weights is not None:
                restore(self.model, self.weights)
            self.device = _own_gpu(self.device)
            self.model.to(self.device)
        return self.index, self.model

    def __getstate__(self) -> dict[str, Any]:
        # Each worker builds its own teacher: a network is large to send, and it may be on a GPU of this process.
        return {**self.__dict__, "model": None, "index": None}


def restore(model: FrozenTeacher, weights: Path) -> None:
    """Load the weights that an earlier run fitted."""
    model.load_state_dict({**model.state_dict(), **load_file(weights)})


def open_teacher(index: Index, fingerprint: str) -> FrozenTeacher:
    """Rebuild the teacher of cached features and verify its fingerprint.

    Raises:
        TeacherCacheError: no such cache, or the rebuilt teacher has another fingerprint.
    """
    cache = open_cache(index, fingerprint)
    model: FrozenTeacher = teachers.build(reread(read_caches(index)[cache.fingerprint]["teacher"]))
    if (cache.folder / WEIGHTS_FILE).is_file():
        restore(model, cache.folder / WEIGHTS_FILE)
    if model.fingerprint != cache.fingerprint.partition("-")[0]:
        raise TeacherCacheError(
            f"{cache.folder}: the configured teacher has another fingerprint, {model.fingerprint}",
            hint=f"delete {cache.folder} and embed again",
        )
    return model


def _own_gpu(device: str) -> str:
    """One of several GPUs for this worker, by its number among its siblings."""
    from multiprocessing import current_process

    identity = current_process()._identity
    if device != "cuda" or not identity or not torch.cuda.device_count():
        return device
    # Worker processes are numbered from 1 in the order in which they are started.
    return f"cuda:{(identity[-1] - 1) % torch.cuda.device_count()}"


def batches_of(
    index: Index, block: Block, model: FrozenTeacher, batch_size: int, camera: str | None
) -> Iterator[tuple[list[int], list[Sample]]]:
    """Rows within the block and samples, still encoded, of those that have the teacher's modality."""
    split, number = block
    shard = index.split(split).shards[number]
    # An index with this shard only: reading begins at its tar and does not pass over the shards before it.
    one = SplitEntry(subjects=index.split(split).subjects, samples=shard.samples, shards=(shard,))
    alone = index.model_copy(update={"splits": {split: one}})
    stream = stream_name(model.modality, camera)
    numbers: list[int] = []
    samples: list[Sample] = []
    for row, sample in enumerate(read_samples(alone, split, {stream, *(["meta"] if model.needs_labels else [])})):
        if stream not in sample.streams:
            continue
        numbers.append(row)
        samples.append(sample)
        if len(samples) == batch_size:
            yield numbers, samples
            numbers, samples = [], []
    if samples:
        yield numbers, samples


def inputs_of(index: Index, sample: Sample, model: FrozenTeacher, camera: str | None) -> np.ndarray:
    """Input of the teacher: chosen frames (F, H, W, 3) uint8, chosen poses (F, J, 3) float32, and so on.

    Raises:
        DataError: the sample lacks it.
    """
    stream = stream_name(model.modality, camera)
    if stream not in sample.streams or stream not in index.streams:
        raise DataError(f"{index.root}: sample {sample.key!r} has no {stream}")
    frames = model.sample_indices(index.streams[stream].frames)
    return modality_of(stream).select(sample.streams[stream], frames)


def _keep_freed_memory() -> None:
    """Make glibc keep large freed blocks, because a network frees and allocates the same ones for every batch.

    By default each thread returns them to the kernel and faults them in again, which takes as much time as the
    arithmetic (docs/guides/teachers.md). Other C libraries have no such option. The setting
    applies to the whole process. A program that sets glibc's own variables (`MALLOC_OPTIONS`) keeps its settings.
    """
    if not sys.platform.startswith("linux") or any(os.environ.get(name) for name in MALLOC_OPTIONS):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        for option, value in ((_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, 2**30), (_M_MMAP_THRESHOLD, 2**25)):
            libc.mallopt(option, value)


def _in_threads(
    work: Callable[[list[int], list[Sample]], int],
    batches: Iterator[tuple[list[int], list[Sample]]],
    *,
    on_cpu: bool,
) -> Iterator[int]:
    """Decode and encode several batches in parallel: on a CPU one core per batch, which suits small images."""
    count = torch.get_num_threads()
    if on_cpu:
        _keep_freed_memory()
    # On a CPU each batch has one thread, because threads within operators would compete for the same cores.
    with ThreadPoolExecutor(count, initializer=partial(torch.set_num_threads, 1) if on_cpu else None) as pool:
        pending: deque[Future[int]] = deque()
        try:
            for numbers, samples in batches:
                pending.append(pool.submit(work, numbers, samples))
                # Two batches per thread keep all threads busy; more would only hold further samples in memory.
                if len(pending) > 2 * count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
