"""Your own recordings, declared in a `dataset.yaml`: the declaration, the search for files, and the dataset itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.datasets.folder.dataset import Folder
    from imu_video.datasets.folder.declaration import Declaration

__all__ = ["Declaration", "Folder"]

__getattr__, __dir__ = exports(__name__, __all__, {"dataset": ["Folder"], "declaration": ["Declaration"]})
