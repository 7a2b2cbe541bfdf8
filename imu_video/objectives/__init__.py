"""Objectives: tasks that see the student and raw windows, own heads, and may run the student several times.

Losses on embeddings live in `imu_video.losses`. Importing this package registers the built-in objectives.
"""

from __future__ import annotations

from imu_video.objectives.base import Objective, ObjectiveMix
from imu_video.objectives.masked import MaskedPatches
from imu_video.objectives.transformations import Transformations

__all__ = ["MaskedPatches", "Objective", "ObjectiveMix", "Transformations"]
