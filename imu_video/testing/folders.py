"""Small data folders from generated windows, for tests and benchmarks; recordings are built with `imu-video build`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from imu_video.errors import ShardError
from imu_video.types import Window

if TYPE_CHECKING:
    from imu_video.modalities.base import StreamSpec
    from imu_video.shards.schema import Index


def write_folder(
    root: str | Path,
    windows: Mapping[str, Iterable[Window]],
    *,
    rate_hz: float,
    dataset: str = "made",
    specs: Mapping[str, StreamSpec] = MappingProxyType({}),
    placements: Sequence[str] = (),
    shard_samples: int = 64,
) -> Index:
    """Write a complete data folder of windows: shards and an index.

    The content is that of a build except columns, which are created when first opened, and quality.json.

    Args:
        root: folder to write into.
        windows: split -> its windows, in order; consumed one at a time.
        rate_hz: sampling rate of the windows, > 0; with T it gives their length in seconds.
        dataset: name of the dataset.
        specs: specification of each stream that windows have.
        placements: devices of the folder that occur in none of the windows.
        shard_samples: samples per tar, >= 1.

    Returns:
        The loaded index.

    Raises:
        ShardError: a split without windows, windows of different lengths, a window that cannot be stored.
        ShardError: a stream without a specification.

    Example:
        >>> import numpy as np
        >>> wrist = np.zeros((6, 100), np.float32)
        >>> window = Window(key="a", recording="r", subject="s", session="1", start=0.0, imu={"wrist": wrist})
        >>> write_folder("data", {"train": [window]}, rate_hz=50).window_s
        2.0
    """
    # here: a check of a loss needs nothing that builds
    from imu_video.recordings.windows import WindowConfig
    from imu_video.shards.building.assemble import BuildJob, index_of
    from imu_video.shards.building.encode import Counts
    from imu_video.shards.reading.index import load_index, write_index
    from imu_video.shards.schema import SplitEntry
    from imu_video.shards.write import ShardWriter, encode_window
    from imu_video.version import __version__

    folder, tally, steps, splits = Path(root), Counts(placements=set(placements)), set[int](), {}
    recordings = set[str]()
    for split, some in windows.items():
        people, before = set(), tally.kept
        with ShardWriter(folder=folder, split=split, shard_samples=shard_samples) as writer:
            for window in some:
                _check_streams(window, specs)
                tally.take(window, specs)
                steps.update(values.shape[-1] for values in window.imu.values())
                people.add(window.subject)
                recordings.add(window.recording)
                writer.add(encode_window(window, dataset=dataset, specs=specs))
        count = tally.kept - before
        if not count or len(steps) != 1:
            raise ShardError(
                f"split {split!r} has {count} windows, of T in {sorted(steps)}", hint="give some, all of one length T"
            )
        splits[split] = SplitEntry(subjects=tuple(sorted(people)), samples=count, shards=tuple(writer.shards))
    tally.read, tally.windows = len(recordings), tally.kept
    job = BuildJob(
        version=__version__,
        config={},
        config_digest="0" * 12,
        dataset=dataset,
        licence="CC0-1.0",
        citation="made up",
        url="",
        window=WindowConfig(seconds=steps.pop() / rate_hz, rate_hz=rate_hz),
        shard_samples=shard_samples,
        everybody=(),
        people={split: entry.subjects for split, entry in splits.items()},
    )
    write_index(index_of(job, splits, tally), folder)
    return load_index(folder)


def _check_streams(window: Window, specs: Mapping[str, StreamSpec]) -> None:
    for stream, values in window.streams.items():
        if stream not in specs or values.shape != specs[stream].shape:
            expected = specs[stream].shape if stream in specs else "no such stream"
            raise ShardError(
                f"sample {window.key!r}: {stream} has shape {values.shape}, expected {expected}",
                hint="give specs={stream: specification} that fit the windows",
            )
