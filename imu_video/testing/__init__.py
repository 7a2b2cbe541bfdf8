"""Contract checks that every component of this toolkit passes, and small data folders, for anyone's tests; no quality.

Each ``check_*`` takes a registered name, a config entry or a built component, and raises AssertionError with what was
expected, what was seen and what to change.
"""

from __future__ import annotations

from imu_video.testing.augmentations import check_augmentation
from imu_video.testing.clips import check_clip_augmentation
from imu_video.testing.datasets import check_dataset
from imu_video.testing.encoders import check_encoder
from imu_video.testing.folders import write_folder
from imu_video.testing.losses import check_loss, check_losses_over_ranks
from imu_video.testing.objectives import check_objective, check_objectives_over_ranks, check_tower
from imu_video.testing.quality import check_quality
from imu_video.testing.ranks import run_on_ranks
from imu_video.testing.teachers import check_teacher, check_text_encoder

__all__ = [
    "check_augmentation",
    "check_clip_augmentation",
    "check_dataset",
    "check_encoder",
    "check_loss",
    "check_losses_over_ranks",
    "check_objective",
    "check_objectives_over_ranks",
    "check_quality",
    "check_teacher",
    "check_text_encoder",
    "check_tower",
    "run_on_ranks",
    "write_folder",
]
