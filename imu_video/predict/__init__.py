"""Features and predictions of recordings with an exported encoder; nothing is trained here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.predict.run import predict_source, write_predictions
    from imu_video.predict.sources import Windows, open_windows
    from imu_video.predict.table import write_features
    from imu_video.predict.timeline import Interval, Timeline, timeline

__all__ = [
    "Interval",
    "Timeline",
    "Windows",
    "open_windows",
    "predict_source",
    "timeline",
    "write_features",
    "write_predictions",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "run": ["predict_source", "write_predictions"],
        "sources": ["Windows", "open_windows"],
        "table": ["write_features"],
        "timeline": ["Interval", "Timeline", "timeline"],
    },
)
