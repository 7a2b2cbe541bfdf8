"""The only composition root: from a config to everything its run needs; it trains nothing.

The file reads from top to bottom in the order of execution: request, data folders, model, samples. Every check runs
once, before the run folder is written, and every component is built once. The checks themselves are in checks.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.encoders.allocation import bounded
from imu_video.losses import LossMix
from imu_video.models.cross_modal import CrossModalModel
from imu_video.objectives import ObjectiveMix
from imu_video.optim.groups import adam
from imu_video.registry import Entry
from imu_video.runtime.distributed import World
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.reading.columns import Columns
from imu_video.transforms import Compose
from imu_video.transforms.video import ClipCompose
from pretrain.config import DIM, LIVE_TEACHER, PretrainConfig
from pretrain.identity import identity, run_id
from pretrain.prepare import checks, data_checks
from pretrain.prepare.components import Components, resolve
from pretrain.prepare.data import Data, blank_spec, fit_spec, open_caches, open_indexes
from pretrain.prepare.initial import Initial
from pretrain.prepare.needs import Needs
from pretrain.prepare.origin import check_finished, read_origin
from pretrain.prepare.prepared import Prepared
from pretrain.prepare.texts import TextSource, WindowTexts
from pretrain.runs.folder import RunFolder, default_folder
from pretrain.training.augment import Augmenter, FolderAugment
from pretrain.training.feed import Feed
from pretrain.training.parts import Parts
from pretrain.training.task import PretrainTask, synchronised

FITTED_WINDOWS = 4096
"""Most training windows, of all devices, that a student is fitted to without gradients (`EncoderBundle.fit`)."""


@contextlib.contextmanager
def prepare(
    config: PretrainConfig, *, folder: Path | None = None, resume: str = "auto", world: World | None = None
) -> Iterator[Prepared]:
    """Check a config and build everything that its run needs; what was opened is closed at the end of the block.

    Args:
        config: as read.
        folder: run folder; None = ``runs/<name>-<run id>``, without the name if it comes from the environment.
        resume: ``auto``, ``never``, or a checkpoint or run folder.
        world: rank, world size and local rank; None = from the environment.

    Raises:
        ConfigError, DataError: the request cannot be run.
        CheckpointError: the checkpoint to continue from is missing or damaged.
        GuardStop: the checkpoints would not fit on the disk.

    Example:
        ``with prepare(load_config("configs/pretrain/base.yaml", PretrainConfig)) as prepared: ...``
    """
    world = world or World.from_environment()
    with contextlib.ExitStack() as stack:
        initial = Initial.open(config)
        if initial is not None:
            config = initial.adopted(config)
        request = check_request(config, world)
        data = open_data(config, request)
        if initial is not None:
            initial.check_data(data.index)
        config, components, task = build_model(config, request, data, world, initial)
        weights = None if initial is None else initial.bundle.weights_sha256
        same = identity(config, data=data.digest, code=components.code(), init=weights)
        run_folder = RunFolder(folder or default_folder(config.name, run_id(same)), keep=config.run.keep)
        start = run_folder.find_start(resume, same)
        checkpoint = run_folder.store.read(start) if start is not None else None
        origin = None
        if checkpoint is None and config.continues is not None:
            checkpoint = origin = read_origin(config.continues, same)
        if world.rank == 0:  # the only process that writes
            count = sum(p.numel() for p in task.parameters())
            checks.check_disk(run_folder.path, parameters=count, keep=config.run.keep)
        accelerator = stack.enter_context(process_group(request))
        columns = open_columns(data, accelerator)
        data.check_signals(columns)
        saved = None if checkpoint is None else InputSpec(**checkpoint.state["input"])
        kept = None if initial is None else initial.spec(data.index)
        fitted = (data.index, columns[data.splits[0]], config.data.placements, config.data.normalise)
        task.model.student.adopt(saved or kept or fit_spec(*fitted))
        texts = None if data.text is None else data.text.read(columns)
        loaders = open_loaders(config, components, request.needs, data, columns, world, stack, texts)
        fit_task(config, task, loaders.train)
        if texts is not None and task.objective is not None:
            task.objective.adopt_texts(texts.table, texts.activities)
        if origin is not None and config.continues is not None:
            plan, per_epoch = loaders.train.plan, loaders.train.steps_per_epoch
            check_finished(origin, config.continues, plan, per_epoch=per_epoch, steps=loaders.steps)
        parts = build_parts(config, components, request.needs, task, loaders, world, accelerator.device)
        stack.callback(parts.feed.close)
        yield Prepared(
            config=config,
            identity=same,
            folder=run_folder,
            start=start,
            checkpoint=checkpoint,
            data=data,
            accelerator=accelerator,
            world=world,
            parts=parts,
            texts=texts,
            initial=initial,
        )


# ------------------------------------------------------------------------------------------------------------ request


@dataclass(frozen=True, kw_only=True)
class Request:
    """A config whose entries are valid and do not contradict each other or the machine.

    Args:
        components: every component entry, validated and not built.
        needs: what they require of data and model.
        device: device of this process.
        precision: ``fp32`` or ``bf16``.
    """

    components: Components
    needs: Needs
    device: torch.device
    precision: str


def check_request(config: PretrainConfig, world: World) -> Request:
    """Checks that need the config and the machine only.

    Raises:
        ConfigError: see the checks.
    """
    checks.check_processes(config, world.size)
    device = checks.device_for(config.run, local_rank=world.local_rank)
    precision = checks.precision_for(config.run, device)
    components = Components.of(config)
    needs = Needs.of(components)
    checks.check_teacher_choice(config, needs)
    checks.check_control(config, needs)
    checks.check_unpaired(config, needs, world.size)
    checks.check_heads(config)
    checks.check_augmented_pair(config, needs)
    checks.check_best_rule(config, needs)
    checks.check_fixed_target(config, needs)
    checks.check_queues(config, needs)
    return Request(components=components, needs=needs, device=device, precision=precision)


# ------------------------------------------------------------------------------------------------------- data folders


def open_data(config: PretrainConfig, request: Request) -> Data:
    """Open the folders and, where a loss uses one, the teacher; no sample is read.

    Raises:
        ConfigError, DataError: see the checks.
        ShardError, TeacherCacheError: a folder or its cache cannot be used.
    """
    section, needs = config.data, request.needs
    data_checks.check_addresses(section)
    indexes = open_indexes(section)
    data_checks.check_splits(section, indexes)
    data_checks.check_placements(section, indexes, needs)
    data_checks.check_conditioning(indexes)
    data_checks.check_streams(needs, indexes)
    data = Data(section=section, indexes=indexes)
    if needs.text:
        data = replace(data, text=TextSource.open(section.text, indexes))
    data_checks.check_subjects(section, {split: data.subjects(split) for split in data.splits})
    if not needs.teacher:
        return data
    entry = request.components.live_teacher
    if section.teacher == LIVE_TEACHER and entry is not None:
        live = entry.build()
        checks.check_live_teacher(entry.name, live, indexes)
        return replace(data, live=live)
    return replace(data, caches=open_caches(section, indexes))


# -------------------------------------------------------------------------------------------------------------- model


def build_model(
    config: PretrainConfig, request: Request, data: Data, world: World, initial: Initial | None = None
) -> tuple[PretrainConfig, Components, PretrainTask]:
    """The resolved config, its complete components, and the model and losses built from them.

    Args:
        config: as read.
        request: its validated components.
        data: the opened folders.
        world: number of processes.
        initial: encoder that the run starts from, None for random weights.

    Raises:
        ConfigError: a component refuses its arguments or the data's windows, or cannot be synchronised; the student is
            another encoder than the initial one.
    """
    index, teacher_dim = data.index, data.teacher_dim
    components = request.components.with_data(
        encoder=blank_spec(index).encoder_context,
        tower=data.context(request.needs.tower),
    )
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    torch.manual_seed(config.seed)
    # The normalisation follows when the training windows are read: a misfit of encoder and windows is found before.
    student = EncoderBundle(spec=blank_spec(index), encoder=components.encoder)
    checks.check_encoder(student)
    if initial is not None:  # after the random draw, so that the projectors are those of a run without `init`
        initial.give_to(student)
    dim = _embedding_width(config, teacher=teacher_dim, student=student.head_dim)
    text = data.text
    components = components.with_widths(dim=dim, teacher_dim=teacher_dim, text_dim=None if text is None else text.width)
    config = resolve(
        config,
        components,
        dim=dim,
        teacher=data.teacher,
        precision=request.precision,
        paired="side" in request.needs.pair,
        text=None if text is None else text.section,
    )
    with bounded("the model with its projectors, tower and losses"):
        task = build_task(config, components, student=student, teacher_dim=teacher_dim)
    checks.check_batch_norm(task, world, request.device)
    return config, components, task


def _embedding_width(config: PretrainConfig, *, teacher: int | None, student: int) -> int:
    section = config.projector
    if section.dim is not None:
        return section.dim
    # Without a head, embeddings are as wide as the features of that side.
    if section.head == "none":
        return student
    return teacher if section.teacher == "none" and teacher is not None else DIM


def build_task(
    config: PretrainConfig, components: Components, *, student: EncoderBundle, teacher_dim: int | None
) -> PretrainTask:
    """Projectors, tower, losses and objectives around a student; initial weights come from torch's global generator.

    Args:
        config: resolved.
        components: of this config.
        student: the encoder that is trained.
        teacher_dim: Dt of the teacher's features, None without a teacher.
    """
    # The order of the lines is the order of the random draws: another order gives a seed other initial weights.
    loss = LossMix.of_terms(components.losses) if components.losses else None
    projector = config.projector
    assert projector.dim is not None  # resolved
    model = CrossModalModel(
        student=student,
        teacher_dim=teacher_dim,
        dim=projector.dim,
        dropout=projector.dropout,
        head=projector.head,
        hidden=projector.hidden,
        pair_head=projector.pair_head == "own",
        projector=projector.teacher,
        tower=None if components.tower is None else components.tower.build(),
        needs=None if loss is None else loss.needs,
        segments=projector.segments,
    )
    objective = ObjectiveMix.of_terms(components.objectives, student=student) if components.objectives else None
    return PretrainTask(model=model, loss=loss, objective=objective)


# ------------------------------------------------------------------------------------------------------------ samples


@contextlib.contextmanager
def process_group(request: Request) -> Iterator[Accelerator]:
    """Open the process group with placement and precision; closed at the end of the block."""
    accelerator = Accelerator(
        cpu=request.device.type == "cpu",
        mixed_precision="bf16" if request.precision == "bf16" else "no",
        device_placement=True,
        # Where only segments are aligned, the projector of whole windows has no part in the loss.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters="segments" in request.needs.pair)],
    )
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        # accelerate keeps the group in a global: without this no other run could start in this process.
        AcceleratorState._reset_state(reset_partial_state=True)


def open_columns(data: Data, accelerator: Accelerator) -> dict[str, list[Columns]]:
    """Windows of each split, folder by folder; rank 0 writes those that are missing, then all read them."""
    accelerator.wait_for_everyone()  # no rank writes before all have passed the checks above
    with accelerator.main_process_first():
        return data.columns()


@dataclass(frozen=True, kw_only=True)
class Loaders:
    """Batches of both splits.

    Args:
        steps: optimiser steps of the whole run.
        train: training pairs.
        val: validation pairs, None without a validation split.
        val_batches: number of its batches in the gallery.
    """

    steps: int
    train: PairLoader
    val: PairLoader | None = None
    val_batches: int = 0


def open_loaders(
    config: PretrainConfig,
    components: Components,
    needs: Needs,
    data: Data,
    columns: Mapping[str, list[Columns]],
    world: World,
    stack: contextlib.ExitStack,
    texts: WindowTexts | None = None,
) -> Loaders:
    """Loaders of both splits; clips that a live teacher reads are closed with the stack.

    Args:
        config: resolved.
        components, needs: of this config.
        data: the opened folders.
        columns: windows of each split, folder by folder.
        world: rank and world size.
        stack: closes the clips.
        texts: of the windows, None for batches without.

    Raises:
        ConfigError: too few usable windows, or windows in which no devices can be compared.
    """
    section = config.data
    change = ClipCompose([entry.build() for entry in components.clip_augment]) if components.clip_augment else None

    common: Any = {"needs": needs, "seed": config.seed, "change": change, "stack": stack, "texts": texts}
    train = data.loader(columns[section.train_split], batch_size=section.batch_size, world=world, **common)
    if needs.devices or section.pair == "devices":
        present = (train.pool.present & train.pool.allowed(section.placements))[train.usable]
        data_checks.check_worn_together(present, split=section.train_split)
    batches = train.plan.steps(config.optim.epochs or 0)
    steps = checks.steps_of(config.optim, batches=batches, per_epoch=train.steps_per_epoch)
    if section.val_split is None:
        return Loaders(steps=steps, train=train)
    # The size of the gallery's batches follows from the number of usable pairs, which the loader counts.
    val = data.loader(columns[section.val_split], batch_size=1, world=World(), **common)
    pairs = min(config.run.gallery, len(val.usable))
    batches = max(1, math.ceil(pairs / section.batch_size))
    rows = checks.gallery_batch(section, pairs=pairs, batches=batches, world=world)
    return Loaders(steps=steps, train=train, val=val.rebatched(batch_size=rows, world=world), val_batches=batches)


def fit_task(config: PretrainConfig, task: PretrainTask, train: PairLoader) -> None:
    """Give the model what it takes from the training samples; a continued run then loads its checkpoint over it.

    Args:
        config: resolved.
        task: model and losses, on the CPU.
        train: training pairs.

    Raises:
        ConfigError: a loss refuses the devices of the data.
    """
    placements = config.data.placements
    if config.init is None or config.init.normalise == "fit":
        fit_student(task.model.student, train, train.pool.allowed(placements))
    if task.loss is not None and "devices" in task.loss.needs:
        present = (train.pool.present & train.pool.allowed(placements))[train.usable]
        task.loss.check_devices(torch.from_numpy(present))
    if task.model.teacher_dim is not None and config.projector.standardise:
        mean, std = train.feature_statistics()
        task.model.set_teacher_statistics(mean, std)
    for modality, network in task.model.networks.items():
        some = train.usable[:: max(1, len(train.usable) // 256)]
        network.fit(train.pool.stream(modality, some))  # type: ignore[operator]
    if task.loss is None or not task.loss.warm_rows:
        return
    # Every rank draws the same windows, by the seed: queues must be equal on all of them.
    rows = np.random.default_rng([config.seed, 16349]).permutation(train.paired_rows)[: task.loss.warm_rows]
    video = worn = None
    if "side" in task.loss.needs and train.has_teacher and not task.model.networks:
        features = train.features(rows).float()
        with torch.no_grad():
            video = task.model.embed_teacher(features)
    if "devices" in task.loss.needs:
        windows, mask = train.pool.devices(rows, train.pool.allowed(placements))
        worn = windows.masked_fill(~mask, torch.nan)
    task.loss.warm_start(meta=train.pool.meta(rows, np.full(len(rows), -1)), video=video, devices=worn)


def fit_student(student: EncoderBundle, train: PairLoader, allowed: np.ndarray) -> None:
    """Give the student what it takes from training windows without gradients, equal on every rank.

    Args:
        student: with the normalisation of the training windows.
        train: training pairs.
        allowed: (V,) devices that are trained on.
    """
    if not hasattr(student.encoder, "fit"):
        return
    rows = train.usable[:: max(1, math.ceil(len(train.usable) * len(allowed) / FITTED_WINDOWS))]
    windows, mask = (part.flatten(0, 1) for part in train.pool.devices(rows, allowed))
    worn = mask.flatten(1).any(1)
    student.fit(windows[worn], mask[worn])


def build_parts(
    config: PretrainConfig,
    components: Components,
    needs: Needs,
    task: PretrainTask,
    loaders: Loaders,
    world: World,
    device: torch.device,
) -> Parts:
    """What the loop runs on."""
    optim = config.optim
    task = synchronised(task, world=world)
    return Parts(
        config=config,
        task=task,
        feed=Feed(loaders.train),
        val_loader=loaders.val,
        val_batches=loaders.val_batches,
        augmenter=Augmenter(
            _composed(components.augment),
            folders=_folder_augment(components, loaders),
            augmented_pair=needs.augmented_pair,
            seed=config.seed,
            world=world,
            device=device,
            first=config.augment_first,
            normalisation=_normalisation(task, device) if config.augment_on == "normalised" else None,
        ),
        optimizer=adam(
            task,
            weight_decay=optim.weight_decay,
            betas=optim.betas,
            algorithm=optim.algorithm,
            decayed=optim.decayed,
        ),
        steps=loaders.steps,
        begin=0 if config.continues is None else config.continues.step,
    )


def _composed(entries: Sequence[Entry[Any]]) -> Compose | None:
    return Compose([entry.build() for entry in entries]) if entries else None


def _folder_augment(components: Components, loaders: Loaders) -> FolderAugment | None:
    """The augmentations of folders that have their own, None where no folder has."""
    own = {
        number: _composed(entries) for number, entries in enumerate(components.folder_augment) if entries is not None
    }
    if not own:
        return None
    return FolderAugment(
        own=own,
        training=loaders.train.pool.sizes,
        validation=() if loaders.val is None else loaders.val.pool.sizes,
    )


def _normalisation(task: PretrainTask, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (C, 1) by which the student normalises windows."""
    student = task.model.student
    return student.mean.detach().to(device), student.std.detach().to(device)
