"""Composition: what a config names is what is built, each part once."""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imu_video import registry
from imu_video.arguments import Constructor
from imu_video.errors import ConfigError, TeacherCacheError
from imu_video.registry import encoders
from imu_video.runtime.distributed import World
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from pretrain.config import PretrainConfig, RunSection
from pretrain.prepare.checks import check_batch_norm, device_for, precision_for
from pretrain.prepare.prepare import Prepared
from pretrain.training.feed import Feed
from pretrain.training.task import synchronised
from tests.pretrain.conftest import opened

Maker = Callable[..., PretrainConfig]
Ready = Callable[..., Prepared]
CPU = torch.device("cpu")


@pytest.mark.parametrize("normalise", ["sensors", "channels", "none", 30.0])
def test_the_normalisation_of_a_config_reaches_the_student(
    prepared: Ready, make_config: Maker, normalise: str | float
) -> None:
    ready = prepared(make_config(data={"normalise": normalise}, augment_on="normalised"))
    student = ready.parts.task.model.student
    fixed = {"none": 1.0, 30.0: 30.0}.get(normalise)
    assert (set(student.spec.std) == {fixed}) == (fixed is not None)
    assert any(student.spec.mean) == (normalise == "channels")
    mean, std = ready.parts.augmenter.normalisation
    assert torch.equal(mean, student.mean)
    assert torch.equal(std, student.std)


def test_normalisation_is_of_the_devices_trained_on(prepared: Ready, make_config: Maker, data: Index) -> None:
    imu = open_columns(data, "train")
    for placements, rows in ((None, imu.imu), (["wrist"], imu.select("wrist"))):
        spec = prepared(make_config(data={"placements": placements})).spec
        values = np.moveaxis(np.asarray(rows, np.float64), -2, 0)[:3].ravel()
        assert spec.std[0] == pytest.approx(np.sqrt(np.nanmean(values**2)), rel=1e-5)
        assert (spec.rate_hz, spec.window_s, spec.samples) == (25.0, 2.0, 50)


def test_only_wanted_devices_are_drawn(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config(data={"placements": ["wrist"]})).parts
    assert set(parts.feed.get(0).meta.device.tolist()) == {1}


def test_teacher_statistics_ignore_missing_rows(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config()).parts
    rows = parts.feed.loader
    features = np.concatenate([rows.batch(n).teacher.numpy() for n in range(rows.steps_per_epoch)])
    model = parts.task.model
    assert torch.isfinite(model.teacher.mean).all()
    np.testing.assert_allclose(model.teacher.mean, features.mean(0), atol=0.2)
    off = prepared(make_config(projector={"standardise": False})).parts.task.model
    assert torch.equal(off.teacher.mean, torch.zeros(12))
    assert torch.equal(off.teacher.std, torch.ones(12))


def test_reading_ahead_changes_nothing(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config()).parts
    loader = parts.feed.loader
    feed = Feed(loader)
    for number in (0, 1, 2, 7, 8, 3):
        assert torch.equal(feed.get(number).imu, loader.batch(number).imu)
    feed.close()


def test_a_failing_read_is_raised_where_it_is_used() -> None:
    class Broken:
        def batch(self, number: int) -> None:
            raise OSError(f"batch {number}")

    feed = Feed(Broken())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="batch 4"):
        feed.get(4)


def test_losses_learn_too_and_do_not_decay(prepared: Ready, make_config: Maker) -> None:
    parts = prepared(make_config(loss=[{"name": "info_nce"}, {"name": "sigmoid_pair", "weight": 0.5}])).parts
    names = {n: g["weight_decay"] for g in parts.optimizer.param_groups for n in g["names"]}
    scales = [n for n in names if n.startswith("loss.")]
    assert len(scales) == 3
    assert {names[n] for n in scales} == {0.0}
    assert names["model.imu_projector.first.weight"] == 0.05


def test_windows_too_short_for_the_encoder_are_refused_at_once(
    prepared: Ready, make_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fussy(nn.Module):
        channels, feature_dim = 6, 6

        def __init__(self) -> None:
            super().__init__()

        def forward(self, imu: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            return imu.unfold(-1, 64, 64).mean((-1, -2))

    encoders.names()  # loads the built-in ones
    monkeypatch.setitem(encoders._classes, "fussy", Fussy)
    config = make_config()
    config = config.model_copy(update={"encoder": {"name": "fussy"}})
    with pytest.raises(ConfigError, match="'fussy' does not take windows of 50 samples"):
        prepared(config)


def test_batch_norm_needs_one_process_or_synchronising(prepared: Ready, make_config: Maker) -> None:
    task = prepared(make_config(encoder={"norm": "batch"})).parts.task
    gpu, two = torch.device("cuda"), World(rank=0, size=2)
    check_batch_norm(task, World(), CPU)
    assert synchronised(task, world=World()) is task
    with pytest.raises(ConfigError, match="does not exist on CPUs"):
        check_batch_norm(task, two, CPU)
    with pytest.raises(ConfigError, match=r"does not exist for _\w+"):
        check_batch_norm(task, two, gpu)
    plain = prepared(make_config()).parts.task
    check_batch_norm(plain, two, CPU)
    assert synchronised(plain, world=two) is plain
    plain.extra = nn.BatchNorm1d(3)
    check_batch_norm(plain, two, gpu)
    assert type(synchronised(plain, world=two).extra) is nn.SyncBatchNorm


def test_precision_and_device_follow_the_machine() -> None:
    assert precision_for(RunSection(), CPU) == "fp32"
    assert precision_for(RunSection(precision="bf16"), CPU) == "bf16"
    assert device_for(RunSection(device="cpu"), local_rank=5) == CPU


def test_a_teacher_by_name_or_fingerprint(data_maker: Any, raw: Any, tmp_path: Path) -> None:
    index = data_maker(tmp_path / "data", {"train": 8, "val": 8})

    def fingerprint(teacher: str | None) -> str:
        return opened(PretrainConfig.model_validate(raw(index.root, data={"teacher": teacher}))).teacher

    assert fingerprint(None) == fingerprint("made") == fingerprint("feed") == "feedfacecafe"
    shutil.copytree(index.root / "teachers" / "feedfacecafe", index.root / "teachers" / "feed00000000")
    for unclear in (None, "made", "feed"):
        with pytest.raises(TeacherCacheError, match="feed00000000"):
            fingerprint(unclear)
    with pytest.raises(TeacherCacheError, match="features of teacher 'feedfacecafe', expected 'feed00000000'"):
        fingerprint("feed0")
    file = index.root / "teachers" / "feed00000000" / "teacher.json"
    file.write_text(file.read_text().replace("feedfacecafe", "feed00000000"))
    assert fingerprint("feed0") == "feed00000000"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts, by name, constructions of components and loaders, validated entries and validated configs."""
    counts: Counter[str] = Counter()

    def counted(owner: Any, attribute: str, name: str) -> None:
        real = getattr(owner, attribute)

        @functools.wraps(real)
        def count(*given: Any, **named: Any) -> Any:
            counts[name] += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, attribute, count)

    for kind in ("encoders", "losses", "objectives", "towers", "augmentations", "clip_augmentations", "teachers"):
        components = getattr(registry, kind)
        for name in components.names():
            counted(components.get(name), "__init__", name)
    counted(PairLoader, "__init__", "loaders")
    counted(Constructor, "validated", "validated entries")
    counted(PretrainConfig, "model_validate", "configs")
    return counts


def test_every_part_is_built_once(built: Counter[str], moving: Index, raw: Any, prepared: Ready) -> None:
    losses = ["info_nce", "segment_alignment", {"name": "hard_negative", "queue": 64}]
    tower = {"name": "skeleton", "width": 8, "frames": 16}
    config = PretrainConfig.model_validate(raw(moving.root, tower=tower, loss=losses, objective=["transformations"]))
    built.clear()
    prepared(config)
    names = ["patch_tst", "info_nce", "segment_alignment", "hard_negative", "transformations", "skeleton", "rotate"]
    names += ["jitter", "cutout"]
    # Each entry of the config is validated once, and the resolved config not again: its values were validated.
    assert {name: built[name] for name in names} == dict.fromkeys(names, 1)
    assert (built["loaders"], built["validated entries"], built["configs"]) == (2, len(names), 0)


def test_a_mix_of_equal_losses_builds_each_entry(built: Counter[str], make_config: Maker, prepared: Ready) -> None:
    config = make_config(loss=["info_nce", {"name": "info_nce", "temperature": 0.5}], data={"val_split": None})
    built.clear()
    parts = prepared(config).parts
    assert (built["info_nce"], built["loaders"], built["patch_tst"]) == (2, 1, 1)
    assert [loss.scale().item() for loss in parts.task.loss.losses.values()] == pytest.approx([1 / 0.07, 2.0])
