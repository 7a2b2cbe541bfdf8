"""Frozen teachers: importing this package registers them; the heavy packages behind them load when one is built."""

from imu_video.teachers import frames, skeleton, tiny
from imu_video.teachers import huggingface as hub
from imu_video.teachers import text as sentence
from imu_video.teachers.base import FrozenTeacher

__all__ = ["FrozenTeacher", "frames", "hub", "sentence", "skeleton", "tiny"]
