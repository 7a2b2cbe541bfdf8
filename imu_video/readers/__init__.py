"""Files of devices and tables as tracks and columns; no datasets and no recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.readers import tables

__all__ = ["tables"]

__getattr__, __dir__ = exports(__name__, __all__, {})
