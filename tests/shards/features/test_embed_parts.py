"""Features are the same bytes from one process, several, several machines, or after a kill; views have own caches."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError, ShardError
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.features.blocks import EmbedBlock
from imu_video.shards.features.embed import Embedding, embed
from imu_video.shards.features.merge import merge_features
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.teacher_cache import open_cache
from imu_video.shards.schema import Index
from imu_video.teachers.skeleton import SkeletonTeacher

TINY = {"name": "tiny", "dim": 8}
PCA = {**TINY, "projection": {"name": "pca", "dim": 2}}
SKELETON = {
    "name": "skeleton",
    "frames": 16,
    "width": 4,
    "segments": 2,
    "epochs": 1,
    "batch": 8,
    "centre": "hip",
    "top": "head",
    "align": False,
}
Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def embedded(folder: Index, files_of: Tree, tmp_path: Path) -> Callable[[dict[str, Any]], dict[str, bytes]]:
    """Files of a teacher's cache, embedded in one go in a copy of the folder."""

    def make(teacher: dict[str, Any]) -> dict[str, bytes]:
        shutil.copytree(folder.root, tmp_path / "copy", ignore=shutil.ignore_patterns("teachers"))
        cache = embed(load_index(tmp_path / "copy"), teacher)
        return files_of(cache.folder.parent)

    return make


class _Stopped(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("teacher", [TINY, PCA])
def test_what_was_stopped_continues_to_the_same_bytes(
    folder: Index,
    files_of: Tree,
    embedded: Callable[[dict[str, Any]], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    teacher: dict[str, Any],
    logged: Any,
) -> None:
    done: list[object] = []
    original = EmbedBlock.__call__

    def stopping(self: EmbedBlock, block: tuple[str, int]) -> None:
        if len(done) == 2:
            raise _Stopped
        original(self, block)
        done.append(block)

    monkeypatch.setattr(EmbedBlock, "__call__", stopping)
    with pytest.raises(_Stopped):
        embed(folder, teacher)
    assert [p.name for p in (folder.root / "teachers").iterdir()] == [
        next((folder.root / "teachers").glob(".*.partial")).name
    ]
    monkeypatch.setattr(EmbedBlock, "__call__", lambda self, block: done.append(block) or original(self, block))
    embed(folder, teacher)
    assert done == [("train", 0), ("train", 1), ("val", 0)]
    assert "2 of 3 shards are embedded" in logged.lines[0]
    assert files_of(folder.root / "teachers") == embedded(teacher)


@pytest.mark.parametrize("of", [1, 2, 5])
@pytest.mark.parametrize("teacher", [TINY, PCA])
def test_parts_merge_into_the_same_bytes(
    folder: Index,
    files_of: Tree,
    embedded: Callable[[dict[str, Any]], dict[str, bytes]],
    teacher: dict[str, Any],
    of: int,
) -> None:
    for number in range(of, 0, -1):
        Embedding(folder, teacher).part(number, of)
    (cache,) = merge_features(folder)
    assert cache.splits == ["train", "val"]
    assert files_of(folder.root / "teachers") == embedded(teacher)


def test_parts_must_be_complete_and_alike(folder: Index) -> None:
    with pytest.raises(ConfigError, match="no parts of features"):
        merge_features(folder)
    part = Embedding(folder, TINY).part(1, 2)
    with pytest.raises(ConfigError, match=r"part 2/2 is missing(.|\n)*--part 2/2"):
        merge_features(folder)
    other = Embedding(folder, TINY).part(2, 2)
    (other / "train-000001.npy").write_bytes(b"damaged")
    with pytest.raises(ShardError, match=r"1 of 3 shards are not embedded, the first: train-000001(.|\n)*--part 2/2"):
        merge_features(folder)
    Embedding(folder, TINY).part(2, 2)
    Embedding(folder, TINY).part(1, 3)
    with pytest.raises(ConfigError, match="contains divisions into 2 and 3 parts"):
        merge_features(folder)
    shutil.rmtree(part.parent / "1-of-3")
    assert merge_features(folder)[0].splits == ["train", "val"]
    with pytest.raises(ConfigError, match="expected i/n"):
        Embedding(folder, TINY).part(3, 2)


def test_a_network_that_needs_fitting_is_fitted_before_it_is_divided(folder: Index) -> None:
    with pytest.raises(ConfigError, match="must be fitted on split 'train' before its parts"):
        Embedding(folder, SKELETON).part(1, 1)
    first = embed(folder, SKELETON, splits=["train"])
    Embedding(folder, SKELETON).part(1, 1)
    (cache,) = merge_features(folder)
    assert cache.folder == first.folder
    assert cache.splits == ["train", "val"]


def test_a_network_that_was_fitted_is_not_fitted_again(folder: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    original = EmbedBlock.__call__

    def stopping(self: EmbedBlock, block: tuple[str, int]) -> None:
        raise _Stopped

    monkeypatch.setattr(EmbedBlock, "__call__", stopping)
    with pytest.raises(_Stopped):
        embed(folder, SKELETON)
    monkeypatch.setattr(EmbedBlock, "__call__", original)

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr("imu_video.teachers.skeleton.SkeletonTeacher.fit", forbidden)
    assert embed(folder, SKELETON).splits == ["train", "val"]


def test_labels_of_the_training_split_reach_a_supervised_teacher(
    folder: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    original = SkeletonTeacher.fit

    def noting(self: SkeletonTeacher, inputs: torch.Tensor, **named: Any) -> None:
        given.append((len(inputs), named.get("labels")))
        original(self, inputs, **named)

    monkeypatch.setattr(SkeletonTeacher, "fit", noting)
    plain, supervised = embed(folder, SKELETON), embed(folder, {**SKELETON, "supervised": True})
    samples = [s for s in read_samples(folder, "train", {"skeleton", "meta"}) if s.streams.get("skeleton") is not None]
    assert given == [(len(samples), None), (len(samples), [s.meta["label"] for s in samples])]
    assert plain.folder.name != supervised.folder.name


def test_workers_change_no_byte(
    folder: Index, files_of: Tree, embedded: Callable[[dict[str, Any]], dict[str, bytes]], logged: Any
) -> None:
    embed(folder, TINY, workers=2)
    assert logged.progress == [(5, 10, "train"), (10, 10, "train"), (5, 5, "val")]
    assert files_of(folder.root / "teachers") == embedded(TINY)


def test_every_camera_has_a_cache_of_its_own(people_config: Callable[..., BuildConfig], tmp_path: Path) -> None:
    index = build(people_config(dataset={"name": "tiny_people", "cameras": True}), tmp_path / "data")
    video, depth = embed(index, TINY), embed(index, TINY, camera="depth")
    assert depth.fingerprint == f"{video.fingerprint}-depth"
    assert depth.spec == {**video.spec, "view": "depth"}
    assert open_cache(index, video.fingerprint).folder == video.folder
    assert np.isnan(video.rows("val")).all()  # p3 has no main video, but a further camera
    assert np.isfinite(depth.rows("val")).all()
    assert not np.array_equal(video.rows("train"), depth.rows("train"))
    exo = embed(index, TINY, camera="exo")
    assert np.isfinite(exo.rows("train")).all(axis=1).sum() == 7  # p0 alone
    assert embed(index, TINY, camera="depth").folder == depth.folder
    with pytest.raises(ConfigError, match="no camera 'dept'; did you mean 'depth'"):
        embed(index, TINY, camera="dept")
    with pytest.raises(ConfigError, match=r"no cameras (.|\n)*remove --camera"):
        embed(index, {**TINY, "modality": "skeleton"}, camera="depth")


def test_the_cache_says_what_its_files_hold(folder: Index) -> None:
    import hashlib
    import json

    embed(folder, TINY, splits=["val"])
    cache = embed(folder, TINY)
    rows = json.loads((cache.folder / "teacher.json").read_text())["rows"]
    assert sorted(rows) == ["train", "val"]
    for split, said in rows.items():
        content = (cache.folder / f"{split}.npy").read_bytes()
        assert (said["bytes"], said["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
