"""Cross-field checks before anything is written or trained; what can only be seen while training is guards.py's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ConfigError, GuardStop, LeakageError
from imu_video.losses import LossMix
from pretrain.config import PretrainConfig, RunSection
from pretrain.prepare.data import Data
from pretrain.prepare.needs import needs_of


def device_for(run: RunSection, *, local_rank: int = 0) -> torch.device:
    """The device of this process.

    Raises:
        ConfigError: a GPU is asked for and there is none for this process.
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
        ConfigError: bf16 is asked for and the device lacks it.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if run.precision == "auto":
        return "bf16" if able else "fp32"
    if run.precision == "bf16" and device.type == "cuda" and not able:
        raise ConfigError("run.precision is bf16, which this GPU lacks", hint="run.precision=fp32")
    return run.precision


def check_splits(config: PretrainConfig, data: Data) -> None:
    """People of the validation split must not be trained on.

    Raises:
        LeakageError: they are.
    """
    if config.data.val_split is None:
        return
    train, val = (data.subjects(split) for split in (config.data.train_split, config.data.val_split))
    shared = sorted(set(train) & set(val))
    if shared:
        raise LeakageError(
            f"splits {config.data.train_split!r} and {config.data.val_split!r} share subjects {shared}",
            hint="build the data folder with disjoint subjects, or data.val_split=null",
        )


def check_encoder(config: PretrainConfig, data: Data) -> None:
    """The encoder must take windows of the data folder's length; one window of zeros tells.

    Raises:
        ConfigError: it refuses them.
    """
    index = data.index
    channels = len(index.channels)
    spec = InputSpec(
        channels=tuple(index.channels),
        rate_hz=index.rate_hz,
        window_s=index.window_s,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    state = torch.random.get_rng_state()
    bundle = EncoderBundle(spec=spec, encoder=config.encoder).eval()
    torch.random.set_rng_state(state)
    try:
        with torch.no_grad():
            features = bundle(torch.zeros(2, channels, index.samples_per_window))
    except (ValueError, RuntimeError, ConfigError) as error:
        raise ConfigError(
            f"encoder {config.encoder['name']!r} does not take windows of {index.samples_per_window} samples "
            f"({index.window_s:g} s at {index.rate_hz:g} Hz): {error}",
            hint="change the encoder's patch or kernel sizes, or build longer windows",
        ) from error
    if features.shape != (2, bundle.feature_dim):
        raise ConfigError(
            f"encoder {config.encoder['name']!r} returned {tuple(features.shape)}, "
            f"expected (B, E) = (2, {bundle.feature_dim})"
        )


def check_losses(config: PretrainConfig, data: Data) -> None:
    """A fixed target must be fixed, a queue hold a batch, and what the losses compare must be there.

    Args:
        config: resolved.
        data: opened.

    Raises:
        ConfigError: a trainable video side under a loss that distils, a queue shorter than the global batch, one device
            for a loss that compares devices, two views without augmentation, retrieval scores without a video side.
    """
    needs = needs_of(config)
    if needs.devices and len(config.data.placements or data.placements) < 2:
        raise ConfigError(
            f"a loss compares devices, but there is one: {', '.join(config.data.placements or data.placements)}",
            hint="data.placements=null, or data with several devices",
        )
    if needs.two_views and not config.augment:
        raise ConfigError(
            "a loss compares two views of each window, but augment is empty: they would be the same",
            hint="augment=[{name: rotate}, {name: jitter}]",
        )
    if config.run.best == "mrr" and "video" not in needs.pair:
        raise ConfigError("run.best is mrr, but windows are paired with no video side", hint="run.best=auto")
    if needs.fixed and needs.tower:
        raise ConfigError(
            f"{' and '.join(needs.fixed)} distils towards the video embedding, and a tower trains along",
            hint="tower=null with a cached teacher, or another loss",
        )
    if not config.loss or config.projector.dim is None:
        return
    mix = LossMix.build(config.loss, dim=config.projector.dim, teacher_dim=data.teacher_dim(config.data.train_split))
    if mix.fixed_target and config.projector.teacher != "none":
        names = [name for name, loss in mix.losses.items() if getattr(loss, "fixed_target", False)]
        raise ConfigError(
            f"projector.teacher is {config.projector.teacher!r}: {' and '.join(names)} distils towards the video "
            "embedding, and what is distilled from must not train along",
            hint="projector.teacher=none projector.dim=null; narrow the teacher when embedding instead "
            "(projection: pca or orthogonal)",
        )
    for name, loss in mix.losses.items():
        size = getattr(loss, "queue_size", 0)
        if isinstance(size, int) and 0 < size < config.data.batch_size:
            raise ConfigError(
                f"loss {name!r}: a queue of {size} is shorter than the global batch of {config.data.batch_size}",
                hint="make the queue at least as long as data.batch_size, or 0",
            )


def check_worn_together(present: np.ndarray, *, split: str) -> None:
    """A loss that compares devices needs windows in which two were worn; without any it would be zero without a word.

    Args:
        present: (N, V) bool, devices that take part, of the windows that take part.
        split: for the error.

    Raises:
        ConfigError: no window has two.
    """
    if not (present.sum(axis=1) >= 2).any():
        raise ConfigError(
            f"a loss compares devices, but no window of split {split!r} has two devices worn at once",
            hint="take data with several devices at a time, or another loss",
        )


def check_disk(path: Path, *, parameters: int, keep: int) -> None:
    """The checkpoints to be kept must fit on the disk.

    Args:
        path: the run folder; need not exist yet.
        parameters: trained numbers; a checkpoint holds three float32 of each.
        keep: run.keep; the best and the one being written come on top.

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
