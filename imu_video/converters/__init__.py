"""Weights of published networks as encoder folders: checkpoints in, folders out; the encoders are in `encoders`.

A converter is a class with keyword-only constructor arguments, registered by name, whose ``plan`` states which encoder
a checkpoint belongs to and where each of its tensors goes. `convert` does the rest, in the same way for all: it reads
the file without executing code in it, accounts for every tensor, writes the folder and verifies it.

The names below are imported at first use. The registry loads them all, which registers the built-in converters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.converters.base import Converter, Plan
    from imu_video.converters.checkpoint import Checkpoint, read_checkpoint
    from imu_video.converters.conversion import Converted, convert
    from imu_video.converters.foundation import MantisConverter, MOMENTConverter
    from imu_video.converters.imu2clip import IMU2CLIPConverter, PRIMUSConverter
    from imu_video.converters.patch_tst import PatchTSTConverter
    from imu_video.converters.ssl_wearables import HarnetConverter

__all__ = [
    "Checkpoint",
    "Converted",
    "Converter",
    "HarnetConverter",
    "IMU2CLIPConverter",
    "MOMENTConverter",
    "MantisConverter",
    "PRIMUSConverter",
    "PatchTSTConverter",
    "Plan",
    "convert",
    "read_checkpoint",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["Converter", "Plan"],
        "checkpoint": ["Checkpoint", "read_checkpoint"],
        "conversion": ["Converted", "convert"],
        "foundation": ["MOMENTConverter", "MantisConverter"],
        "imu2clip": ["IMU2CLIPConverter", "PRIMUSConverter"],
        "patch_tst": ["PatchTSTConverter"],
        "ssl_wearables": ["HarnetConverter"],
    },
)
