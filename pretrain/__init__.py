"""Pretraining: launch, training loop, checkpoints, export; the command is `imu-pretrain`, the function `run.run`.

The names below are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretrain import config, export, run
    from pretrain.config import PretrainConfig

__all__ = ["PretrainConfig", "config", "export", "run"]


def __getattr__(name: str) -> Any:
    # Imported in here: `python -m pretrain` runs this file while the working folder, which may hold an `imu_video.py`
    # of the user's, is still first on the module path.
    from imu_video.lazy import exports

    find, _ = exports(__name__, __all__, {"config": ["PretrainConfig"]})
    return find(name)


def __dir__() -> list[str]:
    return sorted(__all__)
