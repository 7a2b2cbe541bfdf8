"""Windows on disk and back; windows are cut in `recordings`, and models are elsewhere.

The modules here define a data folder: its vocabulary (schema), its tars (write), its quality.json,
damaged samples, and files behind an address (remote). The packages process one:

- ``building``: recordings -> data folder. ``features``: a frozen teacher's features beside its shards.
- ``reading``: index, samples, columns, clips, features. ``batches``: rows of them into training batches.
- ``folders``: finished folders into others.

The names below are imported at first use, so that reading does not load what building needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.shards.batches.loader import PairLoader
    from imu_video.shards.building.build import BuildConfig, build
    from imu_video.shards.features.embed import embed
    from imu_video.shards.folders.combine import merge_folders, split_folder
    from imu_video.shards.folders.fetch import fetch
    from imu_video.shards.reading.columns import open_columns
    from imu_video.shards.reading.index import load_index
    from imu_video.shards.reading.pipeline import read_samples
    from imu_video.shards.reading.repair import repair
    from imu_video.shards.reading.teacher_cache import open_cache
    from imu_video.shards.reading.verify import verify

__all__ = [
    "BuildConfig",
    "PairLoader",
    "build",
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

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "batches.loader": ["PairLoader"],
        "building.build": ["BuildConfig", "build"],
        "features.embed": ["embed"],
        "folders.combine": ["merge_folders", "split_folder"],
        "folders.fetch": ["fetch"],
        "reading.columns": ["open_columns"],
        "reading.index": ["load_index"],
        "reading.repair": ["repair"],
        "reading.verify": ["verify"],
        # Scripts of users import `decode_mp4` from here; its public home is `imu_video.modalities`.
        "reading.pipeline": ["decode_mp4", "read_samples"],
        "reading.teacher_cache": ["open_cache"],
    },
)
