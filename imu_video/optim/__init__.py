"""Optimiser parameter groups and learning-rate schedules; no training loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.optim.groups import adam, groups_by_shape, parameter_groups, set_learning_rate
    from imu_video.optim.schedule import cosine_factor, learning_rate, ramped_cosine

__all__ = [
    "adam",
    "cosine_factor",
    "groups_by_shape",
    "learning_rate",
    "parameter_groups",
    "ramped_cosine",
    "set_learning_rate",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "groups": ["adam", "groups_by_shape", "parameter_groups", "set_learning_rate"],
        "schedule": ["cosine_factor", "learning_rate", "ramped_cosine"],
    },
)
