"""Features of a frozen teacher for all clips or skeletons of a data folder, computed once and read by training.

Rows have the order of the columns. Teachers or projections that need data are fitted only on the split `train`; fitted
weights are stored in the cache folder, so that the same teacher can embed further splits later. Raw features are
computed per shard (blocks.py), in one or several processes or on several machines; the projection is applied last.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imu_video.errors import ConfigError, DataError
from imu_video.modalities.base import modality_of
from imu_video.registry import teachers
from imu_video.runtime.files import write_atomic
from imu_video.runtime.journal import PARTS_SUFFIX, Journal, kept_when_interrupted
from imu_video.runtime.logging import log_progress
from imu_video.runtime.parts import check_part, part_folder, share
from imu_video.runtime.workers import run
from imu_video.shards.features.blocks import (
    Block,
    EmbedBlock,
    SampleCount,
    batches_of,
    block_name,
    inputs_of,
    restore,
)
from imu_video.shards.features.plan import (
    FIT_SPLIT,
    WHAT,
    blocks_of,
    by_recipe,
    check_modality,
    missing_blocks,
    plan_of,
    refuse_remote,
    require_fit_split,
)
from imu_video.shards.features.rows import add_hashes, publish_rows, restore_fitted, weights_of
from imu_video.shards.reading.teacher_cache import WEIGHTS_FILE, TeacherCache
from imu_video.shards.schema import Index
from imu_video.teachers.base import FrozenTeacher

_PRELOAD = ("imu_video.shards.features.blocks", "imu_video.teachers")
_FITTED = "fitted"
logger = logging.getLogger(__name__)


def embed(index: Index, teacher: Mapping[str, Any] | str, **options: Any) -> TeacherCache:
    """Compute a teacher's features of every sample and store them under ``DATA/teachers/<fingerprint>``.

    Existing features are not computed again unless they are damaged. Finished shards are kept when the process is
    interrupted, and the same call resumes. The bytes do not depend on workers or restarts.

    Args:
        index, teacher, options: as for `Embedding`.

    Raises:
        ConfigError: unknown teacher, argument, split or camera; another process is doing the same work.
        DataError: the shards lack the teacher's modality.
        ShardError: damaged shards, or a worker that ended unexpectedly.

    Example:
        >>> from imu_video.shards import load_index
        >>> embed(load_index("data/demo"), {"name": "tiny", "dim": 8}).rows("val").shape
        (12, 8)
    """
    return Embedding(index, teacher, **options).whole()


class Embedding:
    """Embedding of a data folder by a teacher, as a `whole` or in parts on several machines (`part`).

    Args:
        index: a loaded index.
        teacher: a registered teacher and its arguments.
        splits: splits to embed; all when None.
        camera: a further video of the samples; the default one when None. The cache is then named
            ``<fingerprint>-<camera>``.
        batch_size: clips per forward pass, >= 1; increase on a GPU.
        device: device of the teacher; None: a GPU if available.
        workers: number of processes, each with one shard at a time. One process already uses all cores; use several
            for several GPUs and for parallel decoding.
        engine: ``local`` or ``ray``, see `engine.run`.
        plugins: files that register teachers, imported by every worker.
        force: discard unfinished work of this teacher by another version.

    Raises:
        ConfigError: unknown teacher, argument, split or camera; a folder behind an address.

    Example:
        >>> from imu_video.shards import load_index
        >>> Embedding(load_index("data/demo"), {"name": "tiny", "dim": 8}).part(1, 2).name
        '1-of-2'
    """

    def __init__(
        self,
        index: Index,
        teacher: Mapping[str, Any] | str,
        *,
        splits: Sequence[str] | None = None,
        camera: str | None = None,
        batch_size: int = 4,
        device: str | torch.device | None = None,
        workers: int = 1,
        engine: str = "local",
        plugins: Sequence[str | Path] = (),
        force: bool = False,
    ) -> None:
        refuse_remote(index)
        self.index, self.plan = index, plan_of(index, teacher, splits, camera, batch_size)
        self._device = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._workers, self._engine = workers, engine
        self._plugins, self._force = tuple(str(plugin) for plugin in plugins), force

    def whole(self) -> TeacherCache:
        """Compute all shards and create the cache.

        Raises:
            ConfigError, DataError, ShardError: as for `embed`.
        """
        index, plan = self.index, self.plan
        known = by_recipe(index, plan.recipe)
        if known is not None and set(plan.splits) <= set(known.splits):
            return add_hashes(index, known)
        work = self._journal(plan.folder(index), plan.job(index))
        with kept_when_interrupted(work):
            model, weights = self._fitted(known, work)
            model.to(self._device)
            blocks = missing_blocks(index, plan, known, model)
            self._compute(blocks, work, weights)
            cache = publish_rows(index, plan, model, known, dict.fromkeys(blocks, work), self._device)
            work.remove()
        return cache

    def part(self, number: int, of: int) -> Path:
        """Compute one of n parts of the shards; `merge.merge_features` creates the cache when all parts exist.

        Args:
            number, of: i and n of the i-th of n parts, 1 <= i <= n.

        Returns:
            The folder of the part.

        Raises:
            ConfigError: as for `embed`; a network that must be fitted first, in one process.
            DataError, ShardError: as for `embed`.
        """
        check_part(number, of)
        index, plan = self.index, self.plan
        known = by_recipe(index, plan.recipe)
        model: FrozenTeacher = teachers.build(plan.teacher)
        check_modality(index, plan, model)
        # Parts are computed on several machines, and each of them would fit a network of its own.
        if model.needs_fit and known is None:
            raise ConfigError(
                f"teacher {plan.teacher['name']!r} must be fitted on split {FIT_SPLIT!r} before its parts",
                hint=f"imu-video embed {index.root} TEACHER --split {FIT_SPLIT}, then the parts",
            )
        weights = restore_fitted(model, known, plan.camera)
        job = {**plan.job(index), "splits": list(plan.splits), "part": [number, of]}
        work = self._journal(part_folder(plan.folder(index, PARTS_SUFFIX), number, of), job)
        with kept_when_interrupted(work):
            self._compute(share(missing_blocks(index, plan, known, model), number, of), work, weights)
        return work.folder

    def _journal(self, folder: Path, job: dict[str, Any]) -> Journal:
        return Journal(folder, job, what=WHAT, replace=self._force)

    def _fitted(self, known: TeacherCache | None, work: Journal) -> tuple[FrozenTeacher, Path | None]:
        """The teacher, fitted as far as possible before its features are computed, and the file of fitted weights."""
        index, plan = self.index, self.plan
        model: FrozenTeacher = teachers.build(plan.teacher)
        check_modality(index, plan, model)
        if known is not None:
            return model, restore_fitted(model, known, plan.camera)
        if not model.needs_fit:
            return model, None
        file = work.folder / WEIGHTS_FILE
        # Fitting reads all training samples, so an interrupted job keeps its result like a finished shard.
        if work.finished(_FITTED) is not None:
            restore(model, file)
            return model, file
        require_fit_split(index)
        inputs: list[np.ndarray] = []
        labels: list[str | None] = []
        for block in blocks_of(index, [FIT_SPLIT]):
            for _, samples in batches_of(index, block, model, plan.batch_size, plan.camera):
                inputs += [inputs_of(index, one, model, plan.camera) for one in samples]
                labels += [one.meta.get("label") for one in samples]
        if not inputs:
            raise DataError(f"{index.root}: no sample of split {FIT_SPLIT!r} has {model.modality} to fit a teacher on")

        named = {"labels": labels} if model.needs_labels else {}
        model.fit(modality_of(model.modality).collate(inputs), **named)
        write_atomic(file, weights_of(model))
        work.finish(_FITTED, {}, file=WEIGHTS_FILE)
        return model, file

    def _compute(self, blocks: Sequence[Block], work: Journal, weights: Path | None) -> None:
        """Compute the missing blocks."""
        missing = [block for block in blocks if work.finished(block_name(block)) is None]
        finished = len(blocks) - len(missing)
        if finished:
            logger.info("continuing %s: %d of %d shards are embedded", work.folder, finished, len(blocks))
        counts = _sample_counts(self.index, blocks, missing)
        task = EmbedBlock(
            root=self.index.root,
            teacher=self.plan.teacher,
            weights=weights,
            camera=self.plan.camera,
            batch_size=self.plan.batch_size,
            device=self._device,
            plugins=self._plugins,
            journal=work,
            counts=counts,
        )
        done = run(task, missing, workers=self._workers, engine=self._engine, preload=_PRELOAD)
        for block, _ in zip(missing, done, strict=True):
            # Loggers of worker processes have no screen, so their finished blocks are logged here.
            log_progress(logger, counts[block].after, counts[block].total, "samples", block[0])


def _sample_counts(index: Index, blocks: Sequence[Block], missing: Sequence[Block]) -> dict[Block, SampleCount]:
    """Finished samples of the split before and after each missing block; blocks are computed in order."""
    samples = {block: index.split(block[0]).shards[block[1]].samples for block in blocks}
    total, done = Counter[str](), Counter[str]()
    for block, count in samples.items():
        total[block[0]] += count
        done[block[0]] += 0 if block in missing else count
    counts = {}
    for block in missing:
        before = done[block[0]]
        done[block[0]] += samples[block]
        counts[block] = SampleCount(before, done[block[0]], total[block[0]])
    return counts
