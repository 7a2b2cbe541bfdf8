"""Embedding a fitted teacher: trained on the training split alone, kept with the rows, restored for later splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError, DataError, TeacherCacheError
from imu_video.shards.features.embed import embed
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.teacher_cache import WEIGHTS_FILE, open_cache, read_caches
from imu_video.shards.schema import Index
from imu_video.teachers.skeleton import SkeletonTeacher

FIT: dict[str, Any] = {
    "name": "skeleton", "frames": 16, "width": 4, "segments": 2, "epochs": 1, "batch": 8, "centre": "hip",
    "top": "head", "align": False,
}  # fmt: skip


def test_a_fitted_teacher_sees_only_the_training_split(folder: Index) -> None:
    cache = embed(folder, FIT)
    assert (cache.folder / WEIGHTS_FILE).is_file()
    assert "skeleton" in folder.streams
    samples = {s: [x.streams.get("skeleton") for x in read_samples(folder, s, {"skeleton"})] for s in folder.splits}
    naive = SkeletonTeacher(joints=folder.streams["skeleton"].joints, **{k: v for k, v in FIT.items() if k != "name"})
    naive.fit(torch.from_numpy(np.stack([x for x in samples["train"] if x is not None])))
    assert naive.fingerprint == cache.fingerprint
    for split, skeletons in samples.items():
        rows = np.asarray(cache.rows(split), np.float32)
        for row, skeleton in zip(rows, skeletons, strict=True):
            if skeleton is None:
                assert np.isnan(row).all()
            else:
                expected = naive.encode(torch.from_numpy(skeleton)[None])[0].numpy()
                np.testing.assert_allclose(row, expected, atol=2e-3, rtol=2e-3)


def test_a_fitted_teacher_is_restored_not_trained_again(folder: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    part = embed(folder, FIT, splits=["train"])

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(SkeletonTeacher, "fit", forbidden)
    whole = embed(folder, FIT)
    assert whole.fingerprint == part.fingerprint
    assert whole.splits == list(folder.splits)


def test_changed_weights_are_not_taken_for_the_same_teacher(folder: Index) -> None:
    from safetensors.torch import load_file, save_file

    part = embed(folder, FIT, splits=["train"])
    state = load_file(part.folder / WEIGHTS_FILE)
    state["encoder.point.0.bias"] += 1
    save_file(state, part.folder / WEIGHTS_FILE)
    with pytest.raises(TeacherCacheError, match=f"{part.fingerprint}.*the configured teacher has another fingerprint,"):
        embed(folder, FIT)


def test_a_split_to_fit_on_and_the_modality_must_be_there(folder: Index) -> None:
    with pytest.raises(ConfigError, match="fitted on split 'train', but the splits are"):
        embed(folder.model_copy(update={"splits": {"val": folder.splits["val"]}}), FIT)
    with pytest.raises(DataError, match=r"'skeleton' needs skeleton, but .* has none \(its samples contain: imu\)"):
        embed(folder.model_copy(update={"streams": {}}), {**FIT, "joints": ["hip", "head"]})


def test_a_failed_fit_leaves_nothing(folder: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SkeletonTeacher, "_contrast", broken)
    with pytest.raises(KeyboardInterrupt):
        embed(folder, FIT)
    assert read_caches(folder) == {}
    with pytest.raises(TeacherCacheError, match="has no teacher features"):
        open_cache(folder)
