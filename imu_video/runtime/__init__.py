"""Infrastructure of long jobs: process groups, workers, journals, files, console; no data formats and no models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.runtime.distributed import GlobalDraws, World, gather, gather_with_gradient, world
    from imu_video.runtime.files import file_sha256, sync_folder, write_atomic

__all__ = [
    "GlobalDraws",
    "World",
    "file_sha256",
    "gather",
    "gather_with_gradient",
    "sync_folder",
    "world",
    "write_atomic",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "distributed": ["GlobalDraws", "World", "gather", "gather_with_gradient", "world"],
        "files": ["file_sha256", "sync_folder", "write_atomic"],
    },
)
