"""Pretraining: launch, training loop, checkpoints, export; the command is `imu-pretrain`, the function `run.run`.

The names below are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from pretrain import config, export, run
    from pretrain.config import PretrainConfig

__all__ = ["PretrainConfig", "config", "export", "run"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {"config": ["PretrainConfig"]},
)
