"""Numbers about predictions: retrieval, classification, calibration, intervals; plain numpy, no models, no data."""

from __future__ import annotations

from imu_video.metrics.calibration import expected_calibration_error, overconfidence, reliability_bins
from imu_video.metrics.classify import accuracy, balanced_accuracy, confusion_counts, macro_f1
from imu_video.metrics.retrieval import pair_ranks, retrieval
from imu_video.metrics.stats import Interval, hierarchical_bootstrap

__all__ = [
    "Interval",
    "accuracy",
    "balanced_accuracy",
    "confusion_counts",
    "expected_calibration_error",
    "hierarchical_bootstrap",
    "macro_f1",
    "overconfidence",
    "pair_ranks",
    "reliability_bins",
    "retrieval",
]
