"""Metrics of predictions: retrieval, classification, calibration, intervals; numpy only, no models and no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.metrics.calibration import expected_calibration_error, overconfidence, reliability_bins
    from imu_video.metrics.classify import accuracy, balanced_accuracy, confusion_counts, macro_f1
    from imu_video.metrics.ranking import pair_ranks, retrieval, retrieval_chance
    from imu_video.metrics.significance import holm, minimum_detectable, signed_rank_p
    from imu_video.metrics.stats import Interval, hierarchical_bootstrap

__all__ = [
    "Interval",
    "accuracy",
    "balanced_accuracy",
    "confusion_counts",
    "expected_calibration_error",
    "hierarchical_bootstrap",
    "holm",
    "macro_f1",
    "minimum_detectable",
    "overconfidence",
    "pair_ranks",
    "reliability_bins",
    "retrieval",
    "retrieval_chance",
    "signed_rank_p",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "calibration": ["expected_calibration_error", "overconfidence", "reliability_bins"],
        "classify": ["accuracy", "balanced_accuracy", "confusion_counts", "macro_f1"],
        "ranking": ["pair_ranks", "retrieval", "retrieval_chance"],
        "significance": ["holm", "minimum_detectable", "signed_rank_p"],
        "stats": ["Interval", "hierarchical_bootstrap"],
    },
)
