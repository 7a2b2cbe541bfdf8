"""Files of devices and apps as tracks and annotations, and tables as columns; no datasets and no recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.readers import tables
    from imu_video.readers.base import DeviceReading, Reader, Reading, Track
    from imu_video.readers.sensor_logger import SensorLogger

__all__ = ["DeviceReading", "Reader", "Reading", "SensorLogger", "Track", "tables"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["DeviceReading", "Reader", "Reading", "Track"],
        "sensor_logger": ["SensorLogger"],
    },
)
