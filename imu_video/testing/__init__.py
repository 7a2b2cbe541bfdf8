"""Contract checks for components, and small data folders for tests; they do not measure quality.

Each ``check_*`` takes a registered name, a config entry or a built component. A broken contract raises AssertionError
with the expected value, the value seen and what to change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.testing.augmentations import check_augmentation
    from imu_video.testing.clips import check_clip_augmentation
    from imu_video.testing.datasets import check_dataset
    from imu_video.testing.encoders import check_encoder
    from imu_video.testing.exports import check_export
    from imu_video.testing.folders import write_folder
    from imu_video.testing.losses import check_loss, check_losses_over_ranks
    from imu_video.testing.modalities import check_modality
    from imu_video.testing.objectives import check_objective, check_objectives_over_ranks, check_tower
    from imu_video.testing.quality import check_quality
    from imu_video.testing.ranks import run_on_ranks
    from imu_video.testing.readers import check_reader
    from imu_video.testing.teachers import check_teacher, check_text_encoder

__all__ = [
    "check_augmentation",
    "check_clip_augmentation",
    "check_dataset",
    "check_encoder",
    "check_export",
    "check_loss",
    "check_losses_over_ranks",
    "check_modality",
    "check_objective",
    "check_objectives_over_ranks",
    "check_quality",
    "check_reader",
    "check_teacher",
    "check_text_encoder",
    "check_tower",
    "run_on_ranks",
    "write_folder",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "augmentations": ["check_augmentation"],
        "clips": ["check_clip_augmentation"],
        "datasets": ["check_dataset"],
        "encoders": ["check_encoder"],
        "exports": ["check_export"],
        "folders": ["write_folder"],
        "losses": ["check_loss", "check_losses_over_ranks"],
        "modalities": ["check_modality"],
        "objectives": ["check_objective", "check_objectives_over_ranks", "check_tower"],
        "quality": ["check_quality"],
        "ranks": ["run_on_ranks"],
        "readers": ["check_reader"],
        "teachers": ["check_teacher", "check_text_encoder"],
    },
)
