"""Optimiser parameter groups and learning-rate schedules; training loops are elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.optim.groups import adamw, parameter_groups, set_learning_rate
    from imu_video.optim.schedule import learning_rate

__all__ = ["adamw", "learning_rate", "parameter_groups", "set_learning_rate"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "groups": ["adamw", "parameter_groups", "set_learning_rate"],
        "schedule": ["learning_rate"],
    },
)
