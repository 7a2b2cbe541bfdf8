"""Skeletons: normal form, augmentation and encoder network, used by the frozen teacher and by trainable sides.

No component is registered here, and nothing is trained here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.skeletons.augmentation import SkeletonAugmentation
    from imu_video.skeletons.geometry import BodyFrame, streams
    from imu_video.skeletons.network import SkeletonEncoder

__all__ = ["BodyFrame", "SkeletonAugmentation", "SkeletonEncoder", "streams"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "augmentation": ["SkeletonAugmentation"],
        "geometry": ["BodyFrame", "streams"],
        "network": ["SkeletonEncoder"],
    },
)
