"""A folder that `write_folder` makes of windows is one that a build could have left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import ShardError
from imu_video.modalities import ClipSpec
from imu_video.shards import open_columns, verify
from imu_video.testing import write_folder
from imu_video.types import Window

SPECS = {"video": ClipSpec(fps=2, frames=4, height=16, width=16)}


def window(number: int, *, steps: int = 40, label: str | None = "walk", frames: int = 0) -> Window:
    return Window(
        key=f"w-{number:03d}",
        recording=f"r{number // 2}",
        subject=f"s{number // 4}",
        session="1",
        start=2.0 * (number % 2),
        imu={"wrist": np.full((6, steps), number, np.float32)},
        streams={"video": np.zeros((frames, 16, 16, 3), np.uint8) if frames else None},
        label=label,
        tags={"device": "ab"[number % 2]},
    )


def test_the_index_says_what_the_windows_show(tmp_path: Path) -> None:
    made = {"train": (window(i, frames=4 * (i > 0)) for i in range(6)), "test": [window(8, label=None, frames=4)]}
    index = write_folder(tmp_path, made, rate_hz=20, specs=SPECS, placements=["waist"], shard_samples=4)
    assert verify(index).problems == []
    assert (index.window_s, index.samples_per_window, index.placements) == (2.0, 40, ("waist", "wrist"))
    assert (index.labels, index.tags) == (("walk",), {"device": ("a", "b")})
    assert "video" in index.streams
    assert (index.streams["video"].frames, index.streams["video"].height) == (4, 16)
    assert {name: (split.subjects, split.samples, len(split.shards)) for name, split in index.splits.items()} == {
        "train": (("s0", "s1"), 6, 2),
        "test": (("s2",), 1, 1),
    }
    assert (index.build.recordings, index.build.windows, index.build.without) == (
        4,
        7,
        {"clip": 1, "label": 1, "skeleton": 7},
    )
    columns = open_columns(index, "train")
    np.testing.assert_array_equal(columns.select("wrist")[:, 0, 0], np.arange(6))


def test_windows_that_make_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"split 'train' has 2 windows, of T in \[40, 50\]"):
        write_folder(tmp_path / "a", {"train": [window(0), window(1, steps=50)]}, rate_hz=20)
    with pytest.raises(ShardError, match="split 'test' has 0 windows"):
        write_folder(tmp_path / "b", {"train": [window(0)], "test": []}, rate_hz=20)
    with pytest.raises(ShardError, match=r"video has shape \(2, 16, 16, 3\), expected \(4, 16, 16, 3\)"):
        write_folder(tmp_path / "c", {"train": [window(0, frames=2), window(1, frames=4)]}, rate_hz=20, specs=SPECS)
    with pytest.raises(ShardError, match="expected no such stream"):
        write_folder(tmp_path / "d", {"train": [window(0, frames=2)]}, rate_hz=20)
