"""Numbers about predictions: retrieval, classification, intervals; plain numpy, no models and no data reading."""

from __future__ import annotations

from imu_video.metrics.classify import accuracy, balanced_accuracy, confusion_counts, macro_f1
from imu_video.metrics.retrieval import pair_ranks, retrieval
from imu_video.metrics.stats import Interval, hierarchical_bootstrap

__all__ = [
    "Interval",
    "accuracy",
    "balanced_accuracy",
    "confusion_counts",
    "hierarchical_bootstrap",
    "macro_f1",
    "pair_ranks",
    "retrieval",
]
