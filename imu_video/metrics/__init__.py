"""Metrics of predictions: retrieval, classification, calibration, intervals; numpy only, no models and no data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.metrics.calibration import expected_calibration_error, overconfidence, reliability_bins
    from imu_video.metrics.classify import accuracy, balanced_accuracy, confusion_counts, macro_f1
    from imu_video.metrics.inference import Estimate, estimate
    from imu_video.metrics.ranking import class_ranks, pair_ranks, retrieval, retrieval_chance
    from imu_video.metrics.significance import compare, detectable, holm

__all__ = [
    "Estimate",
    "accuracy",
    "balanced_accuracy",
    "class_ranks",
    "compare",
    "confusion_counts",
    "detectable",
    "estimate",
    "expected_calibration_error",
    "holm",
    "macro_f1",
    "overconfidence",
    "pair_ranks",
    "reliability_bins",
    "retrieval",
    "retrieval_chance",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "calibration": ["expected_calibration_error", "overconfidence", "reliability_bins"],
        "classify": ["accuracy", "balanced_accuracy", "confusion_counts", "macro_f1"],
        "inference": ["Estimate", "estimate"],
        "ranking": ["class_ranks", "pair_ranks", "retrieval", "retrieval_chance"],
        "significance": ["compare", "detectable", "holm"],
    },
)
