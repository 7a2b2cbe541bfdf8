"""Loss equations as pure functions; state, process groups and logging belong to the modules of `imu_video.losses`.

A rank holds some rows of a similarity matrix and all of its columns. Each function returns the mean over the given
rows, so the mean over ranks of equal size is the loss of the whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.losses.functional.alignment import warped_similarity, warps
    from imu_video.losses.functional.contrastive import (
        info_nce,
        shared_text_nce,
        sigmoid_pair,
        soft_target_cross_entropy,
    )
    from imu_video.losses.functional.distill import feature_regression, queue_distill, relational
    from imu_video.losses.functional.mining import cross_modal_mining, released_mining
    from imu_video.losses.functional.multiview import (
        derangement,
        device_distances,
        device_weights,
        least_devices,
        mean_distances,
        mmd,
        motion,
        multiview_nce,
        scramble,
        select_devices,
    )
    from imu_video.losses.functional.negatives import hard_negative_nce, hardest, log_importance, same_recording
    from imu_video.losses.functional.self_supervised import barlow_twins, nt_xent, variance_and_covariance

__all__ = [
    "barlow_twins",
    "cross_modal_mining",
    "derangement",
    "device_distances",
    "device_weights",
    "feature_regression",
    "hard_negative_nce",
    "hardest",
    "info_nce",
    "least_devices",
    "log_importance",
    "mean_distances",
    "mmd",
    "motion",
    "multiview_nce",
    "nt_xent",
    "queue_distill",
    "relational",
    "released_mining",
    "same_recording",
    "scramble",
    "select_devices",
    "shared_text_nce",
    "sigmoid_pair",
    "soft_target_cross_entropy",
    "variance_and_covariance",
    "warped_similarity",
    "warps",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "alignment": ["warped_similarity", "warps"],
        "contrastive": ["info_nce", "shared_text_nce", "sigmoid_pair", "soft_target_cross_entropy"],
        "distill": ["feature_regression", "queue_distill", "relational"],
        "mining": ["cross_modal_mining", "released_mining"],
        "multiview": [
            "derangement",
            "device_distances",
            "device_weights",
            "least_devices",
            "mean_distances",
            "mmd",
            "motion",
            "multiview_nce",
            "scramble",
            "select_devices",
        ],
        "negatives": ["hard_negative_nce", "hardest", "log_importance", "same_recording"],
        "self_supervised": ["barlow_twins", "nt_xent", "variance_and_covariance"],
    },
)
