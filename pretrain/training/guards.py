"""What stops a run that has gone wrong while it runs; what can be known before it starts is preflight.py's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from imu_video.errors import GuardStop
from imu_video.runtime.distributed import gather
from imu_video.types import PairBatch
from pretrain.config import PretrainConfig


def check_rows(batch: PairBatch, config: PretrainConfig, device: torch.device, *, repeats: bool = False) -> None:
    """All ranks together must hold each window of a global batch once; a loader that is split twice would not.

    Args:
        batch: this rank's rows.
        config: resolved.
        device: where rows are gathered.
        repeats: a window may come twice: a folder of a mixture is shown more than once an epoch.

    Raises:
        GuardStop: windows are missing or repeated.
    """
    rows = gather(batch.meta.sample.to(device))
    different, expected = len(rows.unique()), config.data.batch_size
    if len(rows) != expected or (different != expected and not repeats):
        raise GuardStop(
            f"the global batch has {len(rows)} rows with {different} different windows, expected {expected}",
            hint="a loader must know its rank (World) and must not be handed to accelerator.prepare",
        )


def not_finite(step: int, numbers: Mapping[str, float], checkpoints: Path) -> GuardStop:
    """The error of an update whose loss or gradient is not finite, after the state before it was written."""
    return GuardStop(
        f"step {step + 1}: loss {numbers['loss']}, gradient norm {numbers['grad_norm']}: not finite; "
        f"the weights before this step are kept ({checkpoints}/latest)",
        hint="see the last lines of log.jsonl; lower optim.lr, set optim.clip_norm, or check the data "
        "with `imu-video verify`",
    )
