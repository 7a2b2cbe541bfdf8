"""The only composition root: config and data folder -> model, losses, loaders, optimiser; it runs nothing."""

from __future__ import annotations

import concurrent.futures
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imu_video import registry
from imu_video.distributed import World
from imu_video.errors import ConfigError, nearest
from imu_video.hub import EncoderBundle, InputSpec, fit_input_spec
from imu_video.losses import LossMix
from imu_video.models import CrossModalModel
from imu_video.objectives import ObjectiveMix
from imu_video.shards.columns import Columns, open_columns
from imu_video.shards.index import load_index
from imu_video.shards.loader import PairLoader
from imu_video.shards.schema import Index
from imu_video.shards.teacher_cache import TeacherCache, cached_fingerprint, open_cache
from imu_video.transforms import Compose
from imu_video.types import PairBatch
from pretrain.augment import Augmenter
from pretrain.config import NO_TEACHER, PretrainConfig
from pretrain.needs import check_teacher_choice, needs_of
from pretrain.optim import adamw
from pretrain.task import PretrainTask, synchronised


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data folder as a config uses it; opening it reads no samples.

    Args:
        index: the folder's index.
        teacher: the cached teacher, None where nothing needs one.
    """

    index: Index
    teacher: TeacherCache | None

    def features(self, split: str) -> np.ndarray | None:
        """(N, Dt) teacher features of a split, None without a teacher."""
        return None if self.teacher is None else self.teacher.rows(split)

    def teacher_dim(self, split: str) -> int | None:
        """Dt, None without a teacher."""
        features = self.features(split)
        return None if features is None else int(features.shape[1])

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the J joints of the folder's skeletons."""
        return () if self.index.skeleton is None else tuple(self.index.skeleton.joints)

    def columns(self, split: str) -> Columns:
        """Windows of a split; built on first use, so let one process go first."""
        return open_columns(self.index, split)


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


def open_data(config: PretrainConfig) -> Data:
    """Open the index and, where something needs it, the teacher cache that a config names.

    Raises:
        ConfigError: unknown split or placement, a teacher that is needed and left out or named and not needed, a tower
            without skeletons.
        ShardError, TeacherCacheError: the folder or its cache cannot be used.
    """
    index = load_index(Path(config.data.root))
    for key in ("train_split", "val_split"):
        split = getattr(config.data, key)
        if split is not None and split not in index.splits:
            raise ConfigError(f"data.{key}: {config.data.root} has no split {split!r}{nearest(split, index.splits)}")
    for placement in config.data.placements or ():
        if placement not in index.placements:
            raise ConfigError(
                f"data.placements: {config.data.root} has no device {placement!r}{nearest(placement, index.placements)}"
            )
    needs = needs_of(config)
    check_teacher_choice(config, needs)
    if config.tower is not None and index.skeleton is None:
        raise ConfigError(
            f"tower: {config.data.root} has no skeletons",
            hint="build the data with window.skeleton_fps=..., or tower=null",
        )
    if not needs.teacher:
        return Data(index=index, teacher=None)
    teacher = open_cache(index, cached_fingerprint(index, config.data.teacher))
    for split in filter(None, (config.data.train_split, config.data.val_split)):
        teacher.rows(split)
    return Data(index=index, teacher=teacher)


def fit_spec(config: PretrainConfig, data: Data) -> InputSpec:
    """Input specification with the normalisation of the training windows (of the placements that are trained on)."""
    columns = data.columns(config.data.train_split)
    chosen = config.data.placements or columns.placements
    views = [columns.placements.index(p) for p in chosen]
    return fit_input_spec(
        _Views(columns.imu, views),  # type: ignore[arg-type]
        rate_hz=data.index.rate_hz,
        window_s=data.index.window_s,
        channels=tuple(data.index.channels),
    )


class _Views:
    """Some devices of an (N, V, C, T) memory map, read in pieces along N."""

    def __init__(self, imu: np.ndarray, views: list[int]) -> None:
        self._imu, self._views = imu, views
        self.shape = (len(imu), len(views), *imu.shape[2:])
        self.ndim = imu.ndim

    def __len__(self) -> int:
        return len(self._imu)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.asarray(self._imu[rows][:, self._views])


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
    loader = _loader(config, data, config.data.train_split, batch_size=config.data.batch_size, world=world)
    val_loader, val_batches = _gallery(config, data, world)
    features = data.features(config.data.train_split)
    statistics = None
    if features is not None and config.projector.standardise:
        statistics = feature_statistics(features, loader.usable)
    torch.manual_seed(config.seed)
    task = build_task(config, spec=spec, teacher_dim=data.teacher_dim(config.data.train_split), statistics=statistics)
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
    steps = optim.steps or optim.epochs * loader.steps_per_epoch // optim.accumulate  # type: ignore[operator]
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
    teacher = loader.pool.teacher(rows)
    if teacher is not None and task.model.tower is None and "video" in task.loss.needs:
        with torch.no_grad():
            video = task.model.embed_teacher(teacher)
    if "devices" in task.loss.needs:
        windows, mask = loader.pool.views(rows, loader.pool.allowed(placements))
        views = windows.masked_fill(~mask, torch.nan)
    task.loss.warm_start(meta=loader.pool.meta(rows, np.full(len(rows), -1)), video=video, views=views)


def feature_statistics(features: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the teacher's features over the windows that are trained on.

    Args:
        features: (N, Dt), may be a memory map; read in pieces.
        rows: (M,) rows that take part.

    Shapes: two (Dt,) float32.

    Example:
        >>> [t.tolist() for t in feature_statistics(np.array([[0.0], [2.0], [9.0]]), np.array([0, 1]))]
        [[1.0], [1.0]]
    """
    pieces = [rows[i : i + 4096] for i in range(0, len(rows), 4096)]
    mean = sum(features[p].astype(np.float64).sum(axis=0) for p in pieces) / len(rows)
    variance = sum(((features[p].astype(np.float64) - mean) ** 2).sum(axis=0) for p in pieces) / len(rows)
    return torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(variance)).float()


def _loader(config: PretrainConfig, data: Data, split: str, *, batch_size: int, world: World) -> PairLoader:
    needs = needs_of(config)
    return PairLoader(
        columns=data.columns(split),
        teacher=data.features(split),
        all_devices=needs.devices,
        skeleton=needs.skeleton,
        devices=config.data.placements,
        batch_size=batch_size,
        seed=config.seed,
        world=world,
    )


def _gallery(config: PretrainConfig, data: Data, world: World) -> tuple[PairLoader | None, int]:
    split = config.data.val_split
    if split is None:
        return None, 0
    usable = _loader(config, data, split, batch_size=1, world=World()).usable
    pairs = min(config.run.gallery, len(usable))
    batches = max(1, math.ceil(pairs / config.data.batch_size))
    batch_size = pairs // batches // world.size * world.size
    if batch_size < 2:
        raise ConfigError(
            f"data.val_split {split!r} has {pairs} usable pairs, too few for a gallery on {world.size} processes",
            hint="data.val_split=null trains without validation",
        )
    return _loader(config, data, split, batch_size=batch_size, world=world), batches


def describe_teacher(data: Data) -> dict[str, Any]:
    """Fingerprint and description of the teacher, for lineage; ``none`` without one."""
    if data.teacher is None:
        return {"fingerprint": NO_TEACHER}
    return {"fingerprint": data.teacher.fingerprint, **data.teacher.spec}
