"""Embedding a data folder: right rows, once, nothing half-written, fitted on the training split alone."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError, DataError, TeacherCacheError
from imu_video.modalities.mp4 import decode_mp4
from imu_video.registry import teachers
from imu_video.shards.features import blocks
from imu_video.shards.features.embed import embed
from imu_video.shards.reading.arrays import sealed
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.teacher_cache import open_cache, read_caches
from imu_video.shards.schema import Index

FEW = {"name": "tiny", "dim": 8}


@pytest.fixture
def bare(folder: Index) -> Index:
    """The same folder as if it had been built without clips and skeletons."""
    return folder.model_copy(update={"streams": {}})


def naive(index: Index, split: str, entry: dict[str, object]) -> np.ndarray:
    """One sample at a time, straight from the definition."""
    teacher = teachers.build(entry)
    rows = []
    for sample in read_samples(index, split):
        one = None
        if teacher.modality in sample.streams:
            stored = sample.streams[teacher.modality]
            one = torch.from_numpy(decode_mp4(stored) if teacher.modality == "video" else stored)
        rows.append(np.full(teacher.feature_dim, np.nan) if one is None else teacher.encode(one[None])[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("modality", ["video", "skeleton"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_rows_follow_the_columns(folder: Index, modality: str, batch_size: int) -> None:
    entry = {**FEW, "modality": modality}
    cache = embed(folder, entry, batch_size=batch_size)
    for split in folder.splits:
        rows = np.asarray(cache.rows(split), dtype=np.float64)
        assert len(rows) == len(open_columns(folder, split))
        np.testing.assert_allclose(rows, naive(folder, split, entry), atol=2e-3)
    assert cache.spec == teachers.build(entry).describe()
    assert cache.fingerprint == teachers.build(entry).fingerprint


def test_a_second_time_computes_nothing(folder: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed(folder, FEW, splits=["train"])
    assert first.splits == ["train"]
    before = (first.folder / "train.npy").stat().st_mtime_ns
    whole = embed(folder, FEW)
    assert whole.splits == list(folder.splits)
    assert (whole.folder / "train.npy").stat().st_mtime_ns == before

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("imu_video.teachers.tiny.TinyTeacher.features", forbidden)
    assert embed(folder, FEW).fingerprint == whole.fingerprint


def test_pca_is_fitted_on_the_training_split_alone(folder: Index) -> None:
    entry = {**FEW, "projection": {"name": "pca", "dim": 2}}
    cache = embed(folder, entry)
    raw = {s: naive(folder, s, FEW) for s in folder.splits}
    train = raw["train"][np.isfinite(raw["train"]).all(1)]
    axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:2]
    for split, features in raw.items():
        got, expected = np.asarray(cache.rows(split), np.float64), (features - train.mean(0)) @ axes.T
        there = np.isfinite(expected).all(1)
        np.testing.assert_allclose(np.abs(got[there]), np.abs(expected[there]), atol=5e-3)
        assert np.isnan(got[~there]).all()


def test_what_was_fitted_serves_later_splits(folder: Index) -> None:
    entry = {**FEW, "projection": {"name": "pca", "dim": 2}, "seed": 4}
    part = embed(folder, entry, splits=["val"])
    whole = embed(folder, entry)
    assert whole.fingerprint == part.fingerprint
    assert whole.splits == list(folder.splits)


def test_a_failure_leaves_nothing(folder: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ValueError("a bug")

    before = read_caches(folder)
    monkeypatch.setattr("imu_video.shards.features.rows.write_cache_file", broken)
    with pytest.raises(ValueError, match="a bug"):
        embed(folder, {**FEW, "seed": 9})
    assert read_caches(folder) == before
    assert not list((folder.root / "teachers").glob(".*"))


def test_faults_are_named(folder: Index, bare: Index) -> None:
    with pytest.raises(DataError, match=r"'tiny' needs video, but .* has none \(its samples contain: imu\)"):
        embed(bare, FEW)
    with pytest.raises(ConfigError, match="batch_size"):
        embed(folder, FEW, batch_size=0)
    with pytest.raises(ConfigError, match="unknown teacher 'tinny'"):
        embed(folder, "tinny")


def test_caches_are_opened_by_fingerprint(folder: Index) -> None:
    one, two = embed(folder, {**FEW, "seed": 21}), embed(folder, {**FEW, "seed": 22})
    assert open_cache(folder, one.fingerprint[:8]).fingerprint == one.fingerprint
    with pytest.raises(TeacherCacheError, match="has features of 2 matching teachers"):
        open_cache(folder)
    with pytest.raises(TeacherCacheError, match=f"no features of teacher 'zzz'.*{two.fingerprint}"):
        open_cache(folder, "zzz")


def test_a_cache_of_other_shards_or_a_damaged_one_is_refused(folder: Index) -> None:
    cache = embed(folder, {**FEW, "seed": 31})
    file = cache.folder / "teacher.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(sealed({**content, "index": "other"})))
    with pytest.raises(TeacherCacheError, match="computed from shards with digest other"):
        open_cache(folder, cache.fingerprint)
    again = embed(folder, {**FEW, "seed": 31})  # replaces what nothing can use
    assert again.splits == list(folder.splits)
    np.save(again.folder / "val.npy", np.zeros((1, 8), np.float32))
    with pytest.raises(TeacherCacheError, match=r"has 160 bytes, expected"):
        again.rows("val")
    (again.folder / "val.npy").write_bytes(b"no array")
    with pytest.raises(TeacherCacheError, match="damaged"):
        again.rows("val")
    (again.folder / "val.npy").unlink()
    with pytest.raises(TeacherCacheError, match="was not embedded"):
        again.rows("val")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "index": "other"}))
    with pytest.raises(TeacherCacheError, match=r"teacher\.json: damaged: its content differs"):
        open_cache(folder, cache.fingerprint)
    file.write_text("{")
    with pytest.raises(TeacherCacheError, match="not readable as JSON"):
        open_cache(folder, cache.fingerprint)
    file.unlink()


def test_no_cache_at_all_names_the_command(bare: Index) -> None:
    with pytest.raises(TeacherCacheError, match="has no teacher features") as caught:
        open_cache(bare)
    assert f"simclr_imu.yaml data.root={bare.root}" in str(caught.value), "a teacher has no input in IMU-only samples"
    filmed = bare.model_copy(update={"streams": {"video": None}})
    with pytest.raises(TeacherCacheError, match="has no teacher features") as caught:
        open_cache(filmed)
    assert f"imu-video embed {bare.root}" in str(caught.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_allocator_is_left_alone_where_the_user_has_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(blocks.ctypes, "CDLL", lambda name: opened.append(name) or object())
    for option in blocks.MALLOC_OPTIONS:
        monkeypatch.delenv(option, raising=False)
    blocks._keep_freed_memory()
    assert len(opened) == 1
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    blocks._keep_freed_memory()
    assert len(opened) == 1
