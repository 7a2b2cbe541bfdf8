"""Towers: encoders of the second modality that train along with the student, where no frozen teacher is wanted.

Importing this package registers the built-in towers.
"""

from __future__ import annotations

from imu_video.sides.base import TowerBundle, load_tower
from imu_video.sides.skeleton import CooccurrenceTower, SkeletonTower, StreamTower

__all__ = ["CooccurrenceTower", "SkeletonTower", "StreamTower", "TowerBundle", "load_tower"]
