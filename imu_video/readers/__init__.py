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
    from imu_video.readers.bids_export import write_bids
    from imu_video.readers.bids_motion import BidsMotion
    from imu_video.readers.c3d import C3d
    from imu_video.readers.core_motion import CoreMotion, SensorLog
    from imu_video.readers.empatica import EmpaticaE4, EmpaticaEmbrace
    from imu_video.readers.geneactiv import GeneActiv
    from imu_video.readers.gopro import GoProTelemetry
    from imu_video.readers.gt3x import Gt3x
    from imu_video.readers.mcap import Mcap
    from imu_video.readers.metamotion import MetaMotion
    from imu_video.readers.movesense import Movesense
    from imu_video.readers.phyphox import Phyphox
    from imu_video.readers.physics_toolbox import PhysicsToolbox
    from imu_video.readers.rosbag import Rosbag
    from imu_video.readers.sensor_logger import SensorLogger
    from imu_video.readers.shimmer import Shimmer
    from imu_video.readers.telemetry import CameraTelemetry
    from imu_video.readers.vrs import Vrs
    from imu_video.readers.xsens import XsensDot, XsensMtw

__all__ = [
    "ActigraphCsv",
    "Apdm",
    "Axivity",
    "BidsMotion",
    "C3d",
    "CameraTelemetry",
    "CoreMotion",
    "DeviceReading",
    "EmpaticaE4",
    "EmpaticaEmbrace",
    "GeneActiv",
    "GoProTelemetry",
    "Gt3x",
    "Mcap",
    "MetaMotion",
    "Movesense",
    "Phyphox",
    "PhysicsToolbox",
    "Reader",
    "Reading",
    "Rosbag",
    "SensorLog",
    "SensorLogger",
    "Shimmer",
    "Track",
    "Vrs",
    "XsensDot",
    "XsensMtw",
    "tables",
    "write_bids",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "actigraph_csv": ["ActigraphCsv"],
        "apdm": ["Apdm"],
        "axivity": ["Axivity"],
        "base": ["DeviceReading", "Reader", "Reading", "Track"],
        "bids_export": ["write_bids"],
        "bids_motion": ["BidsMotion"],
        "c3d": ["C3d"],
        "core_motion": ["CoreMotion", "SensorLog"],
        "empatica": ["EmpaticaE4", "EmpaticaEmbrace"],
        "geneactiv": ["GeneActiv"],
        "gopro": ["GoProTelemetry"],
        "gt3x": ["Gt3x"],
        "mcap": ["Mcap"],
        "metamotion": ["MetaMotion"],
        "movesense": ["Movesense"],
        "phyphox": ["Phyphox"],
        "physics_toolbox": ["PhysicsToolbox"],
        "rosbag": ["Rosbag"],
        "sensor_logger": ["SensorLogger"],
        "shimmer": ["Shimmer"],
        "xsens": ["XsensDot", "XsensMtw"],
        "telemetry": ["CameraTelemetry"],
        "vrs": ["Vrs"],
    },
)
