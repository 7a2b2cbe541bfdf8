"""The only composition root: config and data folder -> model, losses, loaders, optimiser; it runs nothing."""

from __future__ import annotations

import concurrent.futures
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imu_video import registry
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ConfigError
from imu_video.losses import LossMix
from imu_video.models.cross_modal import CrossModalModel
from imu_video.objectives import ObjectiveMix
from imu_video.optim.groups import adamw
from imu_video.runtime.distributed import World
from imu_video.shards.batches.loader import PairLoader
from imu_video.transforms import Compose
from imu_video.types import PairBatch
from pretrain.config import NO_TEACHER, PretrainConfig
from pretrain.prepare.data import Data, pair_loader
from pretrain.prepare.needs import needs_of
from pretrain.training.augment import Augmenter
from pretrain.training.task import PretrainTask, synchronised


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that the engine puts together.

    Args:
        config: resolved.
        task: model and losses.
        feed: training batches by number, read one ahead.
        val_loader: validation pairs, None without a validation split.
        val_batches: how many of its batches make the gallery.
        augmenter: changes windows in SI units, and draws for objectives and towers.
        optimizer: over the task's parameters.
        steps: optimiser steps of the whole run.
    """

    config: PretrainConfig
    task: PretrainTask
    feed: Feed
    val_loader: PairLoader | None
    val_batches: int
    augmenter: Augmenter
    optimizer: torch.optim.Optimizer
    steps: int


class Feed:
    """Batches by number; the next one is read by a thread while this one is trained on.

    Access by number is what makes resuming arithmetic: what was read ahead and never used leaves no trace.

    Args:
        loader: anything with ``batch(number)``.
    """

    def __init__(self, loader: PairLoader) -> None:
        self.loader = loader
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[int, concurrent.futures.Future[PairBatch]] | None = None

    def get(self, number: int) -> PairBatch:
        """Global batch ``number`` (this rank's rows)."""
        if self._ahead is not None and self._ahead[0] == number:
            batch = self._ahead[1].result()
        else:
            batch = self._thread.submit(self.loader.batch, number).result()
        self._ahead = (number + 1, self._thread.submit(self.loader.batch, number + 1))
        return batch

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def build_task(
    config: PretrainConfig,
    *,
    spec: InputSpec,
    teacher_dim: int | None,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> PretrainTask:
    """Student, projectors, tower, losses and objectives; initial weights come from torch's global generator.

    Args:
        config: resolved.
        spec: what the encoder eats.
        teacher_dim: Dt of the cached features, None without a teacher.
        statistics: mean and standard deviation (Dt,) of the teacher's features; None where they come with a checkpoint.
    """
    mean, std = statistics if statistics is not None else (None, None)
    projector = config.projector
    student = EncoderBundle(spec=spec, encoder=config.encoder)
    if projector.dim is None:
        raise ConfigError("projector.dim is null in a config that was not resolved")
    loss = LossMix.build(config.loss, dim=projector.dim, teacher_dim=teacher_dim) if config.loss else None
    model = CrossModalModel(
        student=student,
        teacher_dim=teacher_dim,
        dim=projector.dim,
        dropout=projector.dropout,
        head=projector.head,
        video_projector=projector.teacher,
        teacher_mean=mean,
        teacher_std=std,
        tower=registry.towers.build(config.tower) if config.tower is not None else None,
        needs=None if loss is None else loss.needs,
        segments=projector.segments,
    )
    objective = ObjectiveMix.build(config.objective, student=student) if config.objective else None
    return PretrainTask(model=model, loss=loss, objective=objective)


def build_parts(config: PretrainConfig, data: Data, *, spec: InputSpec, world: World, device: torch.device) -> Parts:
    """Build a run.

    Args:
        config: resolved.
        data: opened by `open_data`.
        spec: from `fit_spec`, or of the checkpoint that is continued.
        world: this process among all.
        device: where it will train.

    Raises:
        ConfigError: a component refuses its arguments, or the batch is larger than the usable windows.
    """
    loader = pair_loader(config, data, config.data.train_split, batch_size=config.data.batch_size, world=world)
    val_loader, val_batches = _gallery(config, data, world)
    statistics = None
    teacher_dim = data.teacher_dim(config.data.train_split)
    if data.live is not None:
        data.live.to(device)
    if teacher_dim is not None and config.projector.standardise:
        statistics = loader.feature_statistics()
    torch.manual_seed(config.seed)
    task = build_task(config, spec=spec, teacher_dim=teacher_dim, statistics=statistics)
    if task.model.tower is not None:
        some = loader.usable[:: max(1, len(loader.usable) // 256)]
        task.model.tower.fit(loader.pool.skeleton(some))  # type: ignore[operator]
    warm_start(task, loader, placements=config.data.placements, seed=config.seed)
    task = synchronised(task, world=world, device=device)
    augmenter = Augmenter(
        Compose.build(config.augment) if config.augment else None,
        needs=needs_of(config),
        seed=config.seed,
        world=world,
        device=device,
    )
    optim = config.optim
    steps = optim.steps or loader.plan.steps(optim.epochs or 0) // optim.accumulate
    if steps < 1:
        raise ConfigError(
            f"optim.epochs {optim.epochs}: {loader.steps_per_epoch} batches an epoch make no update of "
            f"{optim.accumulate} batches",
            hint="raise optim.epochs or lower optim.accumulate",
        )
    return Parts(
        config=config,
        task=task,
        feed=Feed(loader),
        val_loader=val_loader,
        val_batches=val_batches,
        augmenter=augmenter,
        optimizer=adamw(task, weight_decay=optim.weight_decay, betas=optim.betas),
        steps=steps,
    )


def warm_start(task: PretrainTask, loader: PairLoader, *, placements: Sequence[str] | None, seed: int) -> None:
    """Fill what the losses want to know before the first step: queues, distances between devices.

    The same windows on every rank, drawn by the seed. A continued run loads its state from the checkpoint afterwards.

    Args:
        task: model and losses, on the CPU.
        loader: training pairs; only usable windows are drawn.
        placements: devices of the run, None: all.
        seed: of the run.
    """
    wanted = 0 if task.loss is None else min(task.loss.warm_rows, len(loader.usable))
    if task.loss is None or not wanted:
        return
    rows = np.random.default_rng([seed, 16349]).permutation(loader.usable)[:wanted]
    video = views = None
    if "video" in task.loss.needs and loader.has_teacher and task.model.tower is None:
        with torch.no_grad():
            video = task.model.embed_teacher(loader.features(rows).float())
    if "devices" in task.loss.needs:
        windows, mask = loader.pool.views(rows, loader.pool.allowed(placements))
        views = windows.masked_fill(~mask, torch.nan)
    task.loss.warm_start(meta=loader.pool.meta(rows, np.full(len(rows), -1)), video=video, views=views)


def _gallery(config: PretrainConfig, data: Data, world: World) -> tuple[PairLoader | None, int]:
    split = config.data.val_split
    if split is None:
        return None, 0
    loader = pair_loader(config, data, split, batch_size=1, world=World())
    pairs = min(config.run.gallery, len(loader.usable))
    batches = max(1, math.ceil(pairs / config.data.batch_size))
    batch_size = pairs // batches // world.size * world.size
    if batch_size < 2:
        raise ConfigError(
            f"data.val_split {split!r} has {pairs} usable pairs, too few for a gallery on {world.size} processes",
            hint="data.val_split=null trains without validation",
        )
    return loader.rebatched(batch_size=batch_size, world=world), batches


def describe_teacher(data: Data) -> dict[str, Any]:
    """Fingerprint and description of the teacher, for lineage; ``none`` without one."""
    if data.live is not None:
        return {"fingerprint": data.live.fingerprint, **data.live.describe()}
    if data.teacher is None:
        return {"fingerprint": NO_TEACHER}
    return {"fingerprint": data.teacher.fingerprint, **data.teacher.spec}
