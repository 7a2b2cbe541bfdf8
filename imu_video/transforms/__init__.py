"""Augmentations of IMU windows in SI units, as functions of (window, mask, generator); no normalisation.

The names below are imported at first use; the registry loads them all, which registers the built-in augmentations.
Augmentations of video clips are in `imu_video.transforms.video`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.transforms import video
    from imu_video.transforms.base import Augmentation, Compose
    from imu_video.transforms.missing import Crop, Cutout, DropChannel, DropSensor, Shift
    from imu_video.transforms.signal import Bias, Jitter, MagnitudeWarp, Rotate, Scale, SwapAxes
    from imu_video.transforms.timing import CropResize, LowRate, Permute, TimeWarp

__all__ = [
    "Augmentation",
    "Bias",
    "Compose",
    "Crop",
    "CropResize",
    "Cutout",
    "DropChannel",
    "DropSensor",
    "Jitter",
    "LowRate",
    "MagnitudeWarp",
    "Permute",
    "Rotate",
    "Scale",
    "Shift",
    "SwapAxes",
    "TimeWarp",
    "video",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["Augmentation", "Compose"],
        "missing": ["Crop", "Cutout", "DropChannel", "DropSensor", "Shift"],
        "signal": ["Bias", "Jitter", "MagnitudeWarp", "Rotate", "Scale", "SwapAxes"],
        "timing": ["CropResize", "LowRate", "Permute", "TimeWarp"],
    },
)
