"""Checks of a run before it starts, in the order of prepare.py; data_checks.py has those of the data folders.

Checks during training are in guards.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError, DataError, GuardStop
from imu_video.runtime.distributed import World
from imu_video.shards.batches.pool import CLIPS
from imu_video.shards.schema import Index
from imu_video.teachers.base import FrozenTeacher
from pretrain.config import LIVE_TEACHER, NO_TEACHER, DataSection, OptimSection, PretrainConfig, RunSection
from pretrain.prepare.needs import Needs

# ------------------------------------------------------------------------------ the request: config and machine


def check_processes(config: PretrainConfig, processes: int) -> None:
    """The global batch must divide over the processes.

    Raises:
        ConfigError: it does not.
    """
    batch = config.data.batch_size
    if batch % processes:
        near = max(processes, batch // processes * processes)
        raise ConfigError(
            f"data.batch_size {batch} is the global batch; it does not divide over {processes} processes",
            hint=f"data.batch_size={near} or {near + processes}",
        )


def device_for(run: RunSection, *, local_rank: int = 0) -> torch.device:
    """The device of this process.

    Raises:
        ConfigError: a GPU is requested and this process has none.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if run.device == "cpu" or (run.device == "auto" and not found):
        return torch.device("cpu")
    if local_rank >= found:
        raise ConfigError(
            f"run.device is {run.device}: process {local_rank} of this machine has no GPU of its own ({found} found)",
            hint=f"--nproc {found}" if found else "run.device=cpu",
        )
    return torch.device("cuda", local_rank)


def precision_for(run: RunSection, device: torch.device) -> str:
    """``fp32`` or ``bf16``: what ``auto`` means on this device.

    Raises:
        ConfigError: bf16 is requested and the GPU lacks it.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if run.precision == "auto":
        return "bf16" if able else "fp32"
    if run.precision == "bf16" and device.type == "cuda" and not able:
        raise ConfigError("run.precision is bf16, which this GPU lacks", hint="run.precision=fp32")
    return run.precision


def check_teacher_choice(config: PretrainConfig, needs: Needs) -> None:
    """A teacher must be configured when a loss uses one, and must not be when none does.

    Raises:
        ConfigError: one or the other; clips changed under a cached teacher; a tower that no loss uses.
    """
    wanted = config.data.teacher
    if needs.teacher and wanted == NO_TEACHER:
        raise ConfigError(
            f"data.teacher is none, but the losses need a teacher ({', '.join(sorted(needs.pair))})",
            hint="data.teacher=null takes the cached one; tower=skeleton trains a skeleton encoder instead",
        )
    if wanted != LIVE_TEACHER and (config.data.live_teacher or config.data.clip_augment):
        key = "live_teacher" if config.data.live_teacher else "clip_augment"
        raise ConfigError(
            f"data.{key} is set, but data.teacher is {wanted!r}: cached features are those of the stored clips",
            hint="data.teacher=live computes features while training",
        )
    if not needs.teacher and wanted not in (None, NO_TEACHER):
        raise ConfigError(
            f"data.teacher is {wanted!r}, but no loss or objective in this config uses a teacher",
            hint="data.teacher=null",
        )
    if needs.teacher and wanted == LIVE_TEACHER and config.data.live_teacher is None:
        raise ConfigError(
            "data.teacher is live, but data.live_teacher is null", hint="data.live_teacher={name: frames}"
        )
    if config.data.text is not None and not needs.text:
        raise ConfigError(
            "data.text is set, but no objective in this config needs texts",
            hint="data.text=null, or objective=[text_alignment]",
        )
    if needs.tower and not needs.streams:
        raise ConfigError("tower is set, but no loss uses the video side", hint="tower=null, or loss=[info_nce]")


def check_control(config: PretrainConfig, needs: Needs) -> None:
    """A control of the pairs needs pairs.

    Raises:
        ConfigError: a control in a run without a video side.
    """
    if config.data.control != "none" and not (needs.teacher or needs.streams or needs.text):
        raise ConfigError(
            f"data.control is {config.data.control}, but this run uses no teacher, text or other modality",
            hint="data.control=none; for a control of such a run compare with an untrained encoder",
        )


def check_unpaired(config: PretrainConfig, needs: Needs, processes: int) -> None:
    """Folders without a teacher need a loss on the IMU alone, and other folders for the losses that read the teacher.

    Args:
        config: as read.
        needs: of its losses and objectives.
        processes: world size.

    Raises:
        ConfigError: a folder that is not paired in a run that cannot use it.
    """
    unpaired = [folder.root for folder in config.data.folders if not folder.paired]
    if not unpaired:
        return
    what = f"data.root: {unpaired[0]} is not paired (paired: false), but"
    if not needs.alone:
        raise ConfigError(f"{what} every loss and objective reads the other modality", hint="add the loss nt_xent")
    if needs.tower or config.data.teacher == LIVE_TEACHER:
        raise ConfigError(
            f"{what} the run has a {'tower' if needs.tower else 'live teacher'}",
            hint="use a cached teacher (imu-video embed), or leave the folder out",
        )
    if needs.teacher and len(unpaired) == len(config.data.folders):
        raise ConfigError(f"{what} neither is any other folder", hint="data.teacher=none with losses on the IMU alone")
    if needs.teacher and processes > 1:
        # Losses gather equally many rows from every process, and the paired rows of processes differ in number.
        raise ConfigError(f"{what} the run has {processes} processes", hint="one process: --nproc 1")


def check_heads(config: PretrainConfig) -> None:
    """Refuse a width that no head has.

    Raises:
        ConfigError: naming head and width.
    """
    section = config.projector
    if section.hidden is not None and section.head in ("residual", "linear", "none") and section.teacher != "random":
        raise ConfigError(
            f"projector.hidden is {section.hidden}, but head {section.head!r} has no hidden layer of that width",
            hint="projector.hidden=null, or projector.head=batch",
        )


def check_augmented_pair(config: PretrainConfig, needs: Needs) -> None:
    """Two augmented copies of a window must differ.

    Raises:
        ConfigError: no augmentation is configured, or a key that needs augmented pairs is set without them.
    """
    if config.data.pair == "devices" and not needs.augmented_pair:
        raise ConfigError(
            "data.pair is devices, but no loss compares two windows", hint="loss=nt_xent, or data.pair=window"
        )
    if needs.augmented_pair and not config.augment and config.data.pair == "window":
        raise ConfigError(
            "a loss compares two augmented copies of each window, but augment is empty: they would be equal",
            hint="augment=[{name: rotate}, {name: jitter}]",
        )
    if config.projector.pair_head == "own" and not needs.augmented_pair:
        raise ConfigError(
            "projector.pair_head is own, but no loss compares augmented pairs", hint="projector.pair_head=shared"
        )
    if not config.augment_first and not needs.augmented_pair:
        raise ConfigError(
            "augment_first is false, but no loss compares augmented pairs: no window would be augmented",
            hint="augment_first=true",
        )


def check_best_rule(config: PretrainConfig, needs: Needs) -> None:
    """Retrieval scores need a video side.

    Raises:
        ConfigError: the best checkpoint is chosen by a score that is not computed.
    """
    if config.run.best == "mrr" and "side" not in needs.pair:
        raise ConfigError("run.best is mrr, but no loss pairs windows with a video side", hint="run.best=auto")


def check_fixed_target(config: PretrainConfig, needs: Needs) -> None:
    """What is distilled from must not be trained.

    Raises:
        ConfigError: a tower, or a projector on the teacher's side, under a loss with a fixed target.
    """
    names = " and ".join(needs.fixed)
    if needs.fixed and needs.tower:
        raise ConfigError(
            f"{names} distils towards the video embedding, which a tower would train",
            hint="tower=null with a cached teacher, or another loss",
        )
    if needs.fixed and config.projector.teacher not in ("none", "random"):
        raise ConfigError(
            f"projector.teacher is {config.projector.teacher!r}, but {names} distils towards the video embedding: "
            "a distillation target must not be trained",
            hint="projector.teacher=none projector.dim=null, or projector.teacher=random; or narrow the teacher when "
            "embedding (projection: pca or orthogonal)",
        )


def check_queues(config: PretrainConfig, needs: Needs) -> None:
    """A queue must hold at least one global batch: rows would be overwritten by their own batch.

    Raises:
        ConfigError: a shorter one.
    """
    for name, size in needs.queues.items():
        if size < config.data.batch_size:
            raise ConfigError(
                f"loss {name!r}: a queue of {size} is shorter than the global batch of {config.data.batch_size}",
                hint="make the queue at least as long as data.batch_size, or 0",
            )


def check_live_teacher(name: str, teacher: FrozenTeacher, indexes: Sequence[Index]) -> None:
    """A live teacher computes features from the clips of each batch, so it needs clips and no fitting.

    Args:
        name: registered name, for the error.
        teacher: as built.
        indexes: of all folders.

    Raises:
        ConfigError: a teacher of another modality, or one that is fitted on data first.
        DataError: a folder without clips.
    """
    fitted = teacher.needs_fit or teacher.projection.needs_fit
    if teacher.modality != "video" or fitted:
        raise ConfigError(
            f"data.live_teacher {name!r} cannot run live: its modality is {teacher.modality}"
            + (", and it is fitted on data first" if fitted else ""),
            hint="imu-video embed computes its features once",
        )
    for index in indexes:
        if CLIPS not in index.streams:
            raise DataError(f"{index.root}: a live teacher needs clips", hint="build it with window.clip_fps=...")


# ------------------------------------------------------------------------------------------- the parts of the model


def check_encoder(student: EncoderBundle) -> None:
    """The encoder must accept windows of the data's length; a batch of zeros is passed through it.

    Raises:
        ConfigError: it refuses them, or returns another shape than (B, E).
    """
    name, spec = student.encoder_config["name"], student.spec
    was_training = student.training
    try:
        # Initial weights are drawn from the global generator: a check must not move it.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            features = student.eval()(torch.zeros(2, len(spec.channels), spec.samples))
    except (ValueError, RuntimeError, ConfigError) as error:
        raise ConfigError(
            f"encoder {name!r} does not take windows of {spec.samples} samples "
            f"({spec.window_s:g} s at {spec.rate_hz:g} Hz): {error}",
            hint="change the encoder's patch or kernel sizes, or build longer windows",
        ) from error
    finally:
        student.train(was_training)
    if features.shape != (2, student.feature_dim):
        raise ConfigError(
            f"encoder {name!r} returned {tuple(features.shape)}, expected (B, E) = (2, {student.feature_dim})"
        )


def check_batch_norm(task: nn.Module, world: World, device: torch.device) -> None:
    """Batch statistics must be those of the global batch, or the run depends on the number of processes.

    One process: nothing to check. Several on GPUs: torch's own batch norms can become SyncBatchNorm. Several on CPUs,
    or a batch norm with a forward of its own (which SyncBatchNorm would replace): refused.

    Args:
        task: every module that is trained.
        world: number of processes.
        device: of this process.

    Raises:
        ConfigError: batch norm that cannot be synchronised.
    """
    norms: list[Any] = [m for m in task.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if world.size == 1 or not norms:
        return
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    special = next((m for m in norms if type(m) not in plain), None)
    if device.type != "cuda" or special is not None:
        why = "on CPUs" if device.type != "cuda" else f"for {type(special).__name__}"
        raise ConfigError(
            f"batch norm over {world.size} processes needs SyncBatchNorm, which does not exist {why}",
            hint="one process with run.threads=N, or another norm: encoder.norm=layer or group (encoder.network.norm "
            "of a hybrid; tower.norm=group); with `init` the norm is that of its encoder",
        )


def check_disk(path: Path, *, parameters: int, keep: int) -> None:
    """The checkpoints to be kept must fit on the disk.

    Args:
        path: the run folder; need not exist yet.
        parameters: number of trained parameters; a checkpoint holds three float32 of each.
        keep: run.keep; the best one and the one being written are added.

    Raises:
        GuardStop: not enough room.
    """
    existing = next(p for p in (path.resolve(), *path.resolve().parents) if p.exists())
    need = (keep + 2) * 3 * 4 * parameters + 16 * 2**20
    free = shutil.disk_usage(existing).free
    if free < need:
        raise GuardStop(
            f"--run {path}: {free / 2**20:.0f} MiB free, {need / 2**20:.0f} MiB needed for {keep + 2} checkpoints",
            hint="free some space, lower run.keep, or name a folder on another disk",
        )


# ---------------------------------------------------------------------------------------------- the samples themselves


def gallery_batch(section: DataSection, *, pairs: int, batches: int, world: World) -> int:
    """Rows of each validation batch: the gallery in equal batches, a multiple of the number of processes.

    Args:
        section: name of the split and batch size, for the error.
        pairs: pairs of the gallery.
        batches: number of batches, >= 1.
        world: number of processes.

    Raises:
        ConfigError: fewer than two pairs per batch.
    """
    rows = pairs // batches // world.size * world.size
    if rows < 2:
        raise ConfigError(
            f"data.val_split {section.val_split!r} has {pairs} usable pairs, too few for a gallery on {world.size} "
            "processes",
            hint="data.val_split=null trains without validation",
        )
    return rows


def steps_of(optim: OptimSection, *, batches: int, per_epoch: int) -> int:
    """Optimiser steps of the whole run.

    Args:
        optim: length of the run and accumulation.
        batches: global batches of ``optim.epochs`` epochs; unused where ``optim.steps`` is given.
        per_epoch: global batches of one epoch, for the error.

    Raises:
        ConfigError: fewer batches than one update needs.
    """
    steps = optim.steps or batches // optim.accumulate
    if steps < 1:
        raise ConfigError(
            f"optim.epochs {optim.epochs}: {per_epoch} batches per epoch are fewer than one update of "
            f"{optim.accumulate} batches needs",
            hint="raise optim.epochs or lower optim.accumulate",
        )
    return steps
