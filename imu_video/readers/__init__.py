"""Files of devices and apps as tracks and annotations, and tables as columns; no datasets and no recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.readers import tables
    from imu_video.readers.actigraph_csv import ActigraphCsv
    from imu_video.readers.apdm import Apdm
    from imu_video.readers.axivity import Axivity
    from imu_video.readers.base import DeviceReading, Reader, Reading, Track
    from imu_video.readers.c3d import C3d
    from imu_video.readers.empatica import EmpaticaE4, EmpaticaEmbrace
    from imu_video.readers.geneactiv import GeneActiv
    from imu_video.readers.gopro import GoProTelemetry
    from imu_video.readers.gt3x import Gt3x
    from imu_video.readers.mcap import Mcap
    from imu_video.readers.rosbag import Rosbag
    from imu_video.readers.sensor_logger import SensorLogger

__all__ = [
    "ActigraphCsv",
    "Apdm",
    "Axivity",
    "C3d",
    "DeviceReading",
    "EmpaticaE4",
    "EmpaticaEmbrace",
    "GeneActiv",
    "GoProTelemetry",
    "Gt3x",
    "Mcap",
    "Reader",
    "Reading",
    "Rosbag",
    "SensorLogger",
    "Track",
    "tables",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["DeviceReading", "Reader", "Reading", "Track"],
        "actigraph_csv": ["ActigraphCsv"],
        "apdm": ["Apdm"],
        "axivity": ["Axivity"],
        "c3d": ["C3d"],
        "empatica": ["EmpaticaE4", "EmpaticaEmbrace"],
        "geneactiv": ["GeneActiv"],
        "gopro": ["GoProTelemetry"],
        "gt3x": ["Gt3x"],
        "mcap": ["Mcap"],
        "rosbag": ["Rosbag"],
        "sensor_logger": ["SensorLogger"],
    },
)
