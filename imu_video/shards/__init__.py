"""Windows on disk and back; cutting is in recordings, models live elsewhere.

The files here say what a data folder is: its words (schema), its tars (write) and clips (video), its quality.json, what
happens to damaged samples, and files behind an address (remote). The rooms do something with one:

- ``building``: recordings -> data folder. ``features``: a frozen teacher's features beside its shards.
- ``reading``: index, samples, columns, clips, features. ``batches``: rows of them into training batches.
- ``folders``: finished folders into others.

The names below are looked up when asked for, so that reading does not load what building needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imu_video.shards.batches.loader import PairLoader
    from imu_video.shards.building.build import BuildConfig, build
    from imu_video.shards.features.embed import embed
    from imu_video.shards.folders.combine import merge_folders, split_folder
    from imu_video.shards.folders.fetch import fetch
    from imu_video.shards.reading.columns import open_columns
    from imu_video.shards.reading.index import load_index, repair, verify
    from imu_video.shards.reading.pipeline import read_samples
    from imu_video.shards.reading.teacher_cache import open_cache
    from imu_video.shards.video import decode_mp4

_HOME = {
    "BuildConfig": "building.build",
    "PairLoader": "batches.loader",
    "build": "building.build",
    "decode_mp4": "video",
    "embed": "features.embed",
    "fetch": "folders.fetch",
    "load_index": "reading.index",
    "merge_folders": "folders.combine",
    "open_cache": "reading.teacher_cache",
    "open_columns": "reading.columns",
    "read_samples": "reading.pipeline",
    "repair": "reading.index",
    "split_folder": "folders.combine",
    "verify": "reading.index",
}

__all__ = [
    "BuildConfig",
    "PairLoader",
    "build",
    "decode_mp4",
    "embed",
    "fetch",
    "load_index",
    "merge_folders",
    "open_cache",
    "open_columns",
    "read_samples",
    "repair",
    "split_folder",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"imu_video.shards.{_HOME[name]}"), name)
    raise AttributeError(f"module 'imu_video.shards' has no attribute {name!r}")
