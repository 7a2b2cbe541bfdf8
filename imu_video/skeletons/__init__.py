"""Skeletons: normal form, random views and the network that reads them; used by the frozen teacher and trainable sides.

No component is registered here, and nothing here trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.skeletons.network import SkeletonEncoder
    from imu_video.skeletons.views import BodyFrame, Views, streams

__all__ = ["BodyFrame", "SkeletonEncoder", "Views", "streams"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {"network": ["SkeletonEncoder"], "views": ["BodyFrame", "Views", "streams"]},
)
