"""Guards that stop a run during training; checks before training are in prepare/checks.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from imu_video.errors import GuardStop
from imu_video.runtime.distributed import gather
from imu_video.types import PairBatch
from pretrain.config import PretrainConfig


def check_rows(batch: PairBatch, config: PretrainConfig, device: torch.device, *, repeats: bool = False) -> None:
    """Over all ranks, each window of a global batch must occur once; a loader that is split twice violates this.

    Args:
        batch: this rank's rows.
        config: resolved.
        device: device on which rows are gathered.
        repeats: windows may repeat: a folder of a mixture can be used more than once per epoch.

    Raises:
        GuardStop: windows are missing or repeated.
    """
    rows = gather(batch.meta.sample.to(device))
    different, expected = len(rows.unique()), config.data.batch_size
    if len(rows) != expected or (different != expected and not repeats):
        raise GuardStop(
            f"the global batch has {len(rows)} rows with {different} different windows, expected {expected}",
            hint="pass the rank (World) to the loader, and never pass the loader to accelerator.prepare",
        )


def not_finite(step: int, numbers: Mapping[str, float], checkpoints: Path) -> GuardStop:
    """The error for an update whose loss or gradient is not finite; the state before it has been written."""
    return GuardStop(
        f"step {step + 1}: loss {numbers['loss']}, gradient norm {numbers['grad_norm']}: not finite; "
        f"the weights before this step are kept ({checkpoints}/latest)",
        hint="check the last lines of log.jsonl; lower optim.lr, set optim.clip_norm, or check the data "
        "with `imu-video verify`",
    )
