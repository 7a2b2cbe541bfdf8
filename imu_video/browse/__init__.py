"""A data folder as HTML pages: samples with clip, traces and pose, or a recording on a time line; only reads shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.browse.page import render, write_page, write_recording_page

__all__ = [
    "render",
    "write_page",
    "write_recording_page",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "page": ["render", "write_page", "write_recording_page"],
    },
)
