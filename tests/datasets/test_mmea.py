"""UESTC-MMEA-CL: days, the scale of its counts, video, published lists, damaged files; units are in test_layout.py."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imu_video.datasets.mmea import Mmea
from imu_video.errors import ConfigError, RecordingError


@pytest.fixture
def tree(trees: ModuleType, tmp_path: Path) -> Path:
    trees.mmea(tmp_path)
    return tmp_path


CLIP = "UESTC-MMEA-CL/sensor/1_upstairs/1_upstairs_2022_04_30_00_52_08.csv"
LISTS = {"train": ["1_upstairs_2022_04_30_00_52_08"], "val": ["32_watch_TV_2022_04_30_13_00_42"], "test": []}


def write_lists(folder: Path, lists: dict[str, list[str]]) -> str:
    folder.mkdir(exist_ok=True)
    for split, names in lists.items():
        lines = [f"somewhere/data/{name.split('_2')[0]}/{name} 333 333 0" for name in names]
        (folder / f"{split}.txt").write_text("\n".join(lines))
    return str(folder)


def test_clips_of_one_day_are_one_group(tree: Path) -> None:
    source = Mmea(root=str(tree))
    assert source.subjects() == ["day_2022_04_29", "day_2022_04_30"]
    assert [(r.subject, r.segments[0].label, r.streams.get("video") is not None) for r in source.recordings()] == [
        ("day_2022_04_29", "open_close_door", False),
        ("day_2022_04_30", "upstairs", True),
        ("day_2022_04_30", "watch_TV", False),
    ]
    assert all(r.streams.get("video") is None for r in Mmea(root=str(tree), video=False).recordings())


def test_the_scale_is_checked_by_gravity(tree: Path) -> None:
    with pytest.raises(RecordingError, match=r"0\.50 g at 16384 counts") as caught:
        next(Mmea(root=str(tree), acc_counts_per_g=16384).recordings())
    assert "dataset.acc_counts_per_g=8192 fits" in str(caught.value)
    counts = np.loadtxt(tree / CLIP, delimiter=",")
    np.savetxt(tree / CLIP, counts * [2, 2, 2, 1, 1, 1], fmt="%d", delimiter=",")
    with pytest.raises(RecordingError, match=r"dataset\.acc_counts_per_g=16384 fits"):
        list(Mmea(root=str(tree)).recordings(["day_2022_04_30"]))
    np.savetxt(tree / CLIP, counts * 0, fmt="%d", delimiter=",")
    with pytest.raises(RecordingError, match="saturated or dead"):
        list(Mmea(root=str(tree)).recordings(["day_2022_04_30"]))


def test_published_lists(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = write_lists(tree / "lists", LISTS)
    with pytest.raises(RecordingError, match=r"train\.txt: 1 entries, expected 4553"):
        Mmea(root=str(tree), lists=lists)
    with pytest.raises(ConfigError, match="split 'val' needs the published lists"):
        Mmea(root=str(tree), split="val")
    monkeypatch.setattr("imu_video.datasets.mmea.COMODO", {"train": 1, "val": 1, "test": 0})
    listed = Mmea(root=str(tree), lists=lists).recordings()
    assert [(r.segments[0].label, r.tags["split"]) for r in listed] == [("upstairs", "train"), ("watch_TV", "val")]
    assert [r.name for r in Mmea(root=str(tree), lists=lists, split="val").recordings()] == LISTS["val"]


def test_lists_of_the_released_size_are_read(tree: Path) -> None:
    """Released lists have 4553, 653 and 1316 entries, no newline after the last line."""
    number = iter(range(9999))

    def line() -> str:
        k = next(number)
        clock = f"{k // 3600:02d}_{k // 60 % 60:02d}_{k % 60:02d}"
        return f"yourdataset_path/data/5_reading/5_reading_2022_03_24_{clock} 426 425 4"

    lists = tree / "released"
    lists.mkdir()
    for split, count in (("train", 4553), ("val", 653), ("test", 1316)):
        (lists / f"{split}.txt").write_text("\n".join(line() for _ in range(count)))
    with pytest.raises(RecordingError, match="no files"):  # read, and no clip of the tree is in them
        Mmea(root=str(tree), lists=str(lists))


def test_damaged_files(tree: Path) -> None:
    whole = (tree / CLIP).read_text()
    (tree / CLIP).write_text(whole.replace(",", ";", 5))
    with pytest.raises(RecordingError, match=r"00_52_08\.csv, line 1: .* expected 6 finite numbers"):
        list(Mmea(root=str(tree)).recordings(["day_2022_04_30"]))
    (tree / CLIP).rename((tree / CLIP).with_name("1_upstairs_today.csv"))
    with pytest.raises(RecordingError, match="expected N_activity_YYYY_MM_DD_hh_mm_ss"):
        Mmea(root=str(tree))
