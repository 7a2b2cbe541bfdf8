"""Augmentations of IMU windows in SI units, as functions of (window, mask, generator); normalisation is the encoder's.

Importing this package registers the built-in augmentations.
"""

from __future__ import annotations

from imu_video.transforms.base import Augmentation, Compose, GlobalDraws
from imu_video.transforms.missing import Cutout, DropChannel, DropSensor, Shift
from imu_video.transforms.signal import Bias, Jitter, MagnitudeWarp, Rotate, Scale
from imu_video.transforms.timing import CropResize, LowRate, Permute, TimeWarp

__all__ = [
    "Augmentation",
    "Bias",
    "Compose",
    "CropResize",
    "Cutout",
    "DropChannel",
    "DropSensor",
    "GlobalDraws",
    "Jitter",
    "LowRate",
    "MagnitudeWarp",
    "Permute",
    "Rotate",
    "Scale",
    "Shift",
    "TimeWarp",
]
