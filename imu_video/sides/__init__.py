"""Trainable encoders of the second modality (towers), for runs without a frozen teacher.

The names below are imported at first use; the registry loads them all, which registers the built-in towers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.sides.base import TowerBundle, load_tower
    from imu_video.sides.skeleton import CooccurrenceTower, SkeletonTower, StreamTower

__all__ = ["CooccurrenceTower", "SkeletonTower", "StreamTower", "TowerBundle", "load_tower"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["TowerBundle", "load_tower"],
        "skeleton": ["CooccurrenceTower", "SkeletonTower", "StreamTower"],
    },
)
