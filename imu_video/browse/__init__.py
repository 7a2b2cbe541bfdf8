"""A data folder as one HTML page for browsing samples: clip, traces and pose; shards are only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.browse.page import render, write_page

__all__ = [
    "render",
    "write_page",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "page": ["render", "write_page"],
    },
)
