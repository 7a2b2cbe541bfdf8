"""Folders are merged and divided without touching a sample's bytes, and never so that a person is in two splits."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ConfigError, LeakageError, ShardError
from imu_video.recordings.splits import SplitConfig
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.features.embed import embed
from imu_video.shards.folders.combine import merge_folders, split_folder
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.repair import repair
from imu_video.shards.reading.teacher_cache import open_cache
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import Index

Maker = Callable[..., BuildConfig]
Tree = Callable[[Path], dict[str, bytes]]
TINY = {"name": "tiny", "dim": 8}


@pytest.fixture(scope="module")
def other_people(tiny_plugin: Path) -> str:
    """Another dataset with people of the same names."""
    base = datasets.get("tiny_people")

    @datasets.register("other_people")
    class OtherPeople(base):  # type: ignore[misc, valid-type]
        """The same, under another name and licence."""

        name = "other_people"
        licence = "CC-BY-4.0"

    return "other_people"


def chosen(subjects: Mapping[str, list[str]]) -> dict[str, Any]:
    return {"splits": {"subjects": dict(subjects)}}


@pytest.fixture
def pair(people_config: Maker, other_people: str, tmp_path: Path) -> tuple[Index, Index]:
    """p0, p1 in train and p2 in test of one dataset; p0 in test and p1 in train of another."""
    one = build(people_config(**chosen({"train": ["p0", "p1"], "test": ["p2"]})), tmp_path / "one")
    two = people_config(dataset={"name": other_people}, **chosen({"test": ["p0"], "train": ["p1"]}))
    return one, build(two, tmp_path / "two")


def samples(index: Index, split: str) -> list[tuple[str, bytes | None]]:
    return [(s.key, s.streams.get("video")) for s in read_samples(index, split)]


def test_people_of_two_datasets_stay_two_people(pair: tuple[Index, Index], tmp_path: Path) -> None:
    one, two = pair
    merged = merge_folders(pair, tmp_path / "both")
    assert verify(merged).problems == []
    assert merged.split("train").subjects == ("other_people/p1", "tiny_people/p0", "tiny_people/p1")
    assert merged.split("test").subjects == ("other_people/p0", "tiny_people/p2")
    assert merged.dataset == "tiny_people+other_people"
    assert merged.licence == "tiny_people: CC0-1.0; other_people: CC-BY-4.0"
    assert merged.build.recordings == 10
    assert [source.index for source in merged.sources] == [one.digest, two.digest]
    for split in merged.splits:
        assert samples(merged, split) == samples(one, split) + samples(two, split)
        columns = open_columns(merged, split)
        assert len(set(columns.recording_id.tolist())) == len(
            {*open_columns(one, split).recordings} | {f"o{r}" for r in open_columns(two, split).recordings}
        )
        assert set(columns.subjects) == set(merged.split(split).subjects)
    assert [s.path for s in merged.split("train").shards] == [f"shards/train-00000{i}.tar" for i in range(3)]
    assert not (tmp_path / "both.partial").exists()


@pytest.mark.parametrize("copy", [False, True])
def test_tars_are_linked_or_copied(pair: tuple[Index, Index], tmp_path: Path, copy: bool) -> None:
    merged = merge_folders(pair, tmp_path / "both", copy=copy)
    theirs = pair[0].root / "shards" / "train-000001.tar"
    assert os.path.samefile(tmp_path / "both" / "shards" / "train-000001.tar", theirs) is not copy
    assert verify(merged).problems == []


def test_a_damaged_tar_is_not_copied(pair: tuple[Index, Index], tmp_path: Path) -> None:
    tar = pair[1].root / "shards" / "train-000000.tar"
    content = bytearray(tar.read_bytes())
    content[next(iter(pair[1].split("train").shards[0].keys.values()))["video.mp4"][0] + 99] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ShardError, match=r"train-000000\.tar: sha256"):
        merge_folders(pair, tmp_path / "both", copy=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_a_merged_folder_can_be_repaired_and_merged_again(
    pair: tuple[Index, Index], people_config: Maker, tmp_path: Path
) -> None:
    merged = merge_folders(pair, tmp_path / "both")
    before = (merged.root / "index.json").read_bytes()
    (merged.root / "index.json").unlink()
    repair(merged.root)
    assert (merged.root / "index.json").read_bytes() == before
    third = build(people_config(**chosen({"val": ["p3"]})), tmp_path / "three")
    again = merge_folders([merged, third], tmp_path / "all")
    assert verify(again).problems == []
    assert again.split("val").subjects == ("tiny_people/p3",)
    assert len(again.sources) == 3


def test_one_dataset_in_two_folders_is_one_set_of_people(people_config: Maker, tmp_path: Path) -> None:
    first = build(people_config(**chosen({"train": ["p0"], "test": ["p2"]})), tmp_path / "first")
    second = build(people_config(**chosen({"train": ["p1"]})), tmp_path / "second")
    merged = merge_folders([first, second], tmp_path / "both")
    assert merged.dataset == "tiny_people"
    assert merged.split("train").subjects == ("p0", "p1")
    whole = build(people_config(**chosen({"train": ["p0", "p1"], "test": ["p2"]})), tmp_path / "whole")
    assert samples(merged, "train") == samples(whole, "train")
    with pytest.raises(ShardError, match="sample 'tiny_people-walk_p0-00000' is in"):
        merge_folders([first, whole], tmp_path / "twice")
    moved = build(people_config(**chosen({"val": ["p0"]})), tmp_path / "moved")
    with pytest.raises(ShardError, match="is in"):
        merge_folders([first, moved], tmp_path / "leak")


def test_a_person_in_two_splits_is_refused(people_config: Maker, tiny_plugin: Path, tmp_path: Path) -> None:
    base = datasets.get("tiny_people")

    @datasets.register("tiny_people_again")
    class Again(base):  # type: ignore[misc, valid-type]
        """The same people on another day."""

        def _recording(self, *args: Any) -> Any:
            recording = super()._recording(*args)
            return dataclasses.replace(recording, name=f"again_{recording.name}")

    one = build(people_config(**chosen({"train": ["p0"]})), tmp_path / "one")
    again = {"dataset": {"name": "tiny_people_again"}}
    same = build(people_config(**again, **chosen({"train": ["p0", "p1"]})), tmp_path / "same")
    assert merge_folders([one, same], tmp_path / "both").split("train").subjects == ("p0", "p1")
    leak = build(people_config(**again, **chosen({"train": ["p1"], "test": ["p0"]})), tmp_path / "leak")
    with pytest.raises(LeakageError, match=r"subject 'p0' is in split 'train' and in split 'test' of .*leak"):
        merge_folders([one, leak], tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"rate_hz": 25}, r"rate_hz is 20\.0 in .*one, 25\.0 in"),
        ({"seconds": 2.0}, "window_s is"),
        ({"clip_size": 32}, "video is .*16.* in .*one, .*32"),
        ({"skeleton_fps": 5}, "skeleton is"),
    ],
)
def test_other_axes_are_named(
    people_config: Maker, pair: tuple[Index, Index], tmp_path: Path, window: dict[str, Any], message: str
) -> None:
    usual = {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16, "skeleton_fps": 10}
    odd = build(people_config(window={**usual, **window}, **chosen({"val": ["p0"]})), tmp_path / "odd")
    with pytest.raises(ShardError, match=message):
        merge_folders([pair[0], odd], tmp_path / "both")


def test_folders_without_clips_join_folders_with(people_config: Maker, other_people: str, tmp_path: Path) -> None:
    with_clips = build(people_config(**chosen({"train": ["p0"]})), tmp_path / "with")
    bare = people_config(
        dataset={"name": other_people}, window={"seconds": 1.0, "rate_hz": 20}, **chosen({"train": ["p1"]})
    )
    merged = merge_folders([build(bare, tmp_path / "bare"), with_clips], tmp_path / "both")
    assert merged.streams.get("video") == with_clips.streams.get("video")
    assert merged.streams.get("skeleton") == with_clips.streams.get("skeleton")
    assert merged.build.without == {"clip": 7, "skeleton": 7}
    assert verify(merged).problems == []


def test_nothing_that_exists_is_replaced(pair: tuple[Index, Index], tmp_path: Path) -> None:
    for place in (tmp_path / "one", tmp_path / "two"):
        with pytest.raises(ConfigError, match="exists"):
            merge_folders(pair, place)
        with pytest.raises(ConfigError, match="exists"):
            split_folder(pair[0], SplitConfig(), place)
    with pytest.raises(ConfigError, match="two data folders or more"):
        merge_folders(pair[:1], tmp_path / "both")


def test_features_travel_along(pair: tuple[Index, Index], tmp_path: Path, logged: Any) -> None:
    caches = [embed(index, TINY) for index in pair]
    embed(pair[0], {**TINY, "seed": 4})
    embed(pair[1], {**TINY, "projection": {"name": "pca", "dim": 2}})
    before = len(logged.lines)
    merged = merge_folders(pair, tmp_path / "both")
    assert len(logged.lines) == before + 2
    joined = open_cache(merged)
    for split in merged.splits:
        np.testing.assert_array_equal(joined.rows(split), np.concatenate([c.rows(split) for c in caches]))
    before = (joined.folder / "train.npy").stat().st_mtime_ns
    assert embed(merged, TINY).folder == joined.folder  # known: nothing is computed
    assert (joined.folder / "train.npy").stat().st_mtime_ns == before


# -------------------------------------------------------------------------------------------------------- split


def test_new_splits_are_what_a_build_with_them_gives(people_config: Maker, files_of: Tree, tmp_path: Path) -> None:
    old = build(people_config(), tmp_path / "old")
    before = files_of(old.root)
    splits = {"fit": ["p3", "p0"], "check": ["p2", "p1"]}
    fresh = build(people_config(**chosen(splits)), tmp_path / "fresh")
    divided = split_folder(old, SplitConfig(subjects=splits), tmp_path / "divided")
    assert verify(divided).problems == []
    assert divided.digest == fresh.digest
    assert {k: v for k, v in files_of(divided.root).items() if k != "quality.json"} == {
        k: v for k, v in files_of(fresh.root).items() if k != "quality.json"
    }
    assert files_of(old.root) == before


def test_people_may_be_left_out(people_config: Maker, tmp_path: Path) -> None:
    old = build(people_config(dataset={"name": "tiny_people", "cameras": True}), tmp_path / "old")
    only = split_folder(old, SplitConfig(subjects={"test": ["p3"]}), tmp_path / "only")
    assert verify(only).problems == []
    assert "video" not in only.streams  # p3 has no video
    assert sorted(only.streams) == ["skeleton", "video.depth"]
    assert only.build.without == {"clip": 7}
    assert only.build.unused_subjects == ("p0", "p1", "p2")
    assert only.build.config["split_of"] == old.digest
    assert only.tags == {"camera": ("front",)}
    assert json.loads((only.root / "index.json").read_text())["splits"]["test"]["samples"] == 7


def test_nobody_may_be_in_two_splits(people_config: Maker, tmp_path: Path) -> None:
    old = build(people_config(), tmp_path / "old")
    with pytest.raises(LeakageError, match="subject 'p0' is in split 'a' and in split 'b'"):
        split_folder(old, SplitConfig(subjects={"a": ["p0"], "b": ["p0", "p1"]}), tmp_path / "new")
    with pytest.raises(ConfigError, match="no subject 'p9'"):
        split_folder(old, SplitConfig(subjects={"a": ["p9"]}), tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_features_follow_their_samples_unless_they_were_fitted(
    people_config: Maker, tmp_path: Path, logged: Any
) -> None:
    old = build(people_config(), tmp_path / "old")
    embed(old, TINY)
    pca = embed(old, {**TINY, "projection": {"name": "pca", "dim": 2}})
    new = split_folder(old, SplitConfig(subjects={"a": ["p2", "p1"], "b": ["p0"]}), tmp_path / "new")
    seen = logged.lines
    assert seen[0].startswith("quality.json is left out")  # p3 is in no split
    assert seen[1:] == [
        f"teachers/{pca.fingerprint} is left out: its teacher was fitted on other subjects; embed again"
    ]
    where = {k: (s, r) for s in old.splits for r, k in enumerate(open_columns(old, s).keys)}
    rows = {split: open_cache(old, open_cache(new).fingerprint).rows(split) for split in old.splits}
    for split in new.splits:
        expected = np.stack([rows[where[key][0]][where[key][1]] for key in open_columns(new, split).keys])
        np.testing.assert_array_equal(open_cache(new).rows(split), expected)
    assert load_index(tmp_path / "new").digest == new.digest
