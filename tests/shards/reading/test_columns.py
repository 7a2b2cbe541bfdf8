"""Columns hold what the shards hold, are made once, and never outlive the shards."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import ConfigError, ShardError
from imu_video.modalities import ClipSpec
from imu_video.shards.reading import column_files
from imu_video.shards.reading import columns as columns_module
from imu_video.shards.reading.arrays import CheckedArray, sealed
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.schema import Index, SplitEntry
from imu_video.shards.write import ShardWriter, encode_window
from imu_video.types import Window

SPECS = {"video": ClipSpec(fps=5, frames=3, height=16, width=16)}


def test_rows_equal_the_windows(folder: Index, window_maker: Callable[[str, int], Window]) -> None:
    columns = open_columns(folder, "train")
    windows = [window_maker("train", i) for i in range(10)]
    assert len(columns) == 10
    assert columns.placements == ("right_wrist", "waist")
    assert columns.imu.shape == (10, 2, 6, 20)
    assert isinstance(columns.imu, CheckedArray)
    for i, window in enumerate(windows):
        np.testing.assert_array_equal(columns.imu[i, 1], window.imu["waist"])
        if "right_wrist" in window.imu:
            np.testing.assert_array_equal(columns.imu[i, 0], window.imu["right_wrist"])
        else:
            assert np.isnan(columns.imu[i, 0]).all()
        stored = window.streams.get("skeleton", np.nan)
        np.testing.assert_array_equal(columns.streams["skeleton"][i], stored)
    assert isinstance(columns.streams["skeleton"], CheckedArray)
    np.testing.assert_array_equal(columns.complete, [[i % 3 != 0, False] for i in range(10)])  # the waist begins late
    np.testing.assert_array_equal(columns.subject_id, [0] * 6 + [1] * 4)
    np.testing.assert_array_equal(columns.present, [[i % 3 != 0, True] for i in range(10)])
    assert columns.keys == [w.key for w in windows]
    assert columns.labels == [w.label for w in windows]
    assert columns.subjects == [w.subject for w in windows]
    assert columns.recordings == [w.recording for w in windows]
    assert columns.sessions == ["1"] * 10
    assert columns.tags == [w.tags for w in windows]
    np.testing.assert_array_equal(columns.start, [w.start for w in windows])
    np.testing.assert_array_equal(columns.recording_id, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3])
    assert columns.recording_id.dtype == np.int64


def test_flags_come_along_and_older_columns_are_made_again(
    folder: Index, window_maker: Callable[[str, int], Window]
) -> None:
    assert open_columns(folder, "train").flags == [()] * 10
    place = folder.root / "columns" / "train" / "meta.json"
    old = json.loads(place.read_text())
    place.write_text(json.dumps({"version": 3, "digest": old["digest"], "keys": []}))
    assert open_columns(folder, "train").flags == [()] * 10
    assert json.loads(place.read_text()) == old
    with ShardWriter(folder=folder.root / "flagged", split="a", shard_samples=8) as writer:
        for i, flags in enumerate([(), ("waist:gap", "video:low_sync")]):
            writer.add(encode_window(replace(window_maker("train", i), flags=flags), dataset="tiny", specs=SPECS))
    entry = SplitEntry(subjects=("train0",), samples=2, shards=tuple(writer.shards))
    index = folder.model_copy(update={"splits": {"a": entry}}).at(folder.root / "flagged")
    assert open_columns(index, "a").flags == [(), ("video:low_sync", "waist:gap")]


def test_select_is_a_view_of_one_device(shared_folder: Index) -> None:
    columns = open_columns(shared_folder, "train")
    np.testing.assert_array_equal(columns.select("waist"), columns.imu[:, 1])
    assert np.shares_memory(columns.select("waist"), columns.imu)
    with pytest.raises(ConfigError, match="did you mean 'waist'"):
        columns.select("waste")


def test_columns_are_made_once(folder: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_columns(folder, "train")

    def refuse(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(columns_module, "write_columns", refuse)
    np.testing.assert_array_equal(open_columns(folder, "train").imu, first.imu)


def test_columns_of_other_shards_are_replaced(folder_maker: Callable[..., Index], tmp_path: Path) -> None:
    old = open_columns(folder_maker(tmp_path / "data", {"train": 6}), "train")
    before = np.array(old.imu)
    new = open_columns(folder_maker(tmp_path / "data", {"train": 9}), "train")
    assert (len(old), len(new)) == (6, 9)
    np.testing.assert_array_equal(old.imu, before)  # whoever has the old ones open keeps them
    assert sorted(p.name for p in (tmp_path / "data" / "columns").iterdir()) == ["train"]


def test_several_openers_at_once_agree(folder: Index) -> None:
    results: list[Columns] = []
    threads = [threading.Thread(target=lambda: results.append(open_columns(folder, "train"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(np.array_equal(r.imu, results[0].imu, equal_nan=True) for r in results)
    assert [p.name for p in (folder.root / "columns").iterdir()] == ["train"]


def test_a_failure_leaves_nothing(folder: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(columns_module, "write_columns", fail)
    with pytest.raises(OSError, match="disk full"):
        open_columns(folder, "train")
    assert list((folder.root / "columns").iterdir()) == []


def test_damaged_columns_name_the_folder_to_delete(folder: Index) -> None:
    open_columns(folder, "val")
    where = folder.root / "columns" / "val"
    whole = (where / "imu.npy").read_bytes()
    (where / "imu.npy").write_bytes(whole[:-100])
    with pytest.raises(ShardError, match=rf"damaged(.|\n)*delete {where}"):
        open_columns(folder, "val")
    (where / "imu.npy").write_bytes(whole)
    meta = json.loads((where / "meta.json").read_text())
    (where / "meta.json").write_text(json.dumps({**meta, "distinct": {**meta["distinct"], "tags": 1}}))
    with pytest.raises(ShardError, match=rf"its content differs(.|\n)*delete {where}"):
        open_columns(folder, "val")
    meta["arrays"]["imu"] = meta["arrays"]["present"]
    (where / "meta.json").write_text(json.dumps(sealed(meta)))
    with pytest.raises(ShardError, match=r"imu.npy: \|b1 \[5, 2\], expected <f4 \[5, 2, 6, 20\]"):
        open_columns(folder, "val")
    (where / "meta.json").write_text("{")
    with pytest.raises(ShardError, match="not readable as JSON"):
        open_columns(folder, "val")


def test_unknown_split(folder: Index) -> None:
    with pytest.raises(ShardError, match="no split 'tset'"):
        open_columns(folder, "tset")
    assert not (folder.root / "columns").exists()


def test_folder_permissions_follow_the_umask(folder: Index) -> None:
    open_columns(folder, "val")
    assert (folder.root / "columns" / "val").stat().st_mode == (folder.root / "shards").stat().st_mode


@pytest.mark.parametrize("held", [1, 2000, 1 << 21])
def test_columns_are_the_same_in_pieces_of_any_size(
    held: int, folder: Index, folder_maker: Callable[..., Index], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = folder.root / "columns" / "train"
    open_columns(folder, "train")
    monkeypatch.setattr(column_files._Rows, "_BYTES", held)
    other = folder_maker(tmp_path / "other", {"train": 10})
    open_columns(other, "train")
    for path in whole.glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "other" / "columns" / "train" / path.name).read_bytes()
