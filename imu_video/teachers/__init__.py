"""Frozen teachers: importing this package registers them; the heavy packages behind them load when one is built."""

from imu_video.teachers import frames, hub, sentence, skeleton, tiny
from imu_video.teachers.base import FrozenTeacher

__all__ = ["FrozenTeacher", "frames", "hub", "sentence", "skeleton", "tiny"]
