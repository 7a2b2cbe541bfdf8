"""Composition: what the config says is what is built."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imu_video.errors import ConfigError, TeacherCacheError
from imu_video.registry import encoders
from imu_video.runtime.distributed import World
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from pretrain.config import PretrainConfig, RunSection
from pretrain.prepare.build import Feed, Parts, build_parts
from pretrain.prepare.checks import check_encoder, device_for, precision_for
from pretrain.prepare.data import fit_spec, open_data
from pretrain.training.task import synchronised

Maker = Callable[..., PretrainConfig]
CPU = torch.device("cpu")


def build(config: PretrainConfig) -> Parts:
    data = open_data(config)
    return build_parts(config, data, spec=fit_spec(config, data), world=World(), device=CPU)


def test_normalisation_is_of_the_devices_trained_on(make_config: Maker, data: Index) -> None:
    imu = open_columns(data, "train")
    for placements, rows in ((None, imu.imu), (["wrist"], imu.select("wrist"))):
        config = make_config(data={"placements": placements})
        spec = fit_spec(config, open_data(config))
        values = np.moveaxis(np.asarray(rows, np.float64), -2, 0)[:3].ravel()
        assert spec.std[0] == pytest.approx(np.sqrt(np.nanmean(values**2)), rel=1e-5)
        assert (spec.rate_hz, spec.window_s, spec.samples) == (25.0, 2.0, 50)


def test_only_wanted_devices_are_drawn(make_config: Maker) -> None:
    parts = build(make_config(data={"placements": ["wrist"]}))
    assert set(parts.feed.get(0).meta.device.tolist()) == {1}


def test_teacher_statistics_ignore_missing_rows(make_config: Maker) -> None:
    parts = build(make_config())
    rows = parts.feed.loader
    features = np.concatenate([rows.batch(n).teacher.numpy() for n in range(rows.steps_per_epoch)])
    model = parts.task.model
    assert torch.isfinite(model.teacher_mean).all()
    np.testing.assert_allclose(model.teacher_mean, features.mean(0), atol=0.2)
    off = build(make_config(projector={"standardise": False})).task.model
    assert torch.equal(off.teacher_mean, torch.zeros(12))
    assert torch.equal(off.teacher_std, torch.ones(12))


def test_reading_ahead_changes_nothing(make_config: Maker) -> None:
    parts = build(make_config())
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


def test_losses_learn_too_and_do_not_decay(make_config: Maker) -> None:
    parts = build(make_config(loss=[{"name": "info_nce"}, {"name": "sigmoid_pair", "weight": 0.5}]))
    names = {n: g["weight_decay"] for g in parts.optimizer.param_groups for n in g["names"]}
    scales = [n for n in names if n.startswith("loss.")]
    assert len(scales) == 3
    assert {names[n] for n in scales} == {0.0}
    assert names["model.imu_projector.first.weight"] == 0.05


def test_windows_too_short_for_the_encoder_are_refused_at_once(
    make_config: Maker, monkeypatch: pytest.MonkeyPatch
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
        check_encoder(config, open_data(config))


def test_batch_norm_needs_one_process_or_synchronising(make_config: Maker) -> None:
    task = build(make_config(encoder={"norm": "batch"})).task
    assert synchronised(task, world=World(), device=CPU) is task
    two = World(rank=0, size=2)
    with pytest.raises(ConfigError, match="does not exist on CPUs"):
        synchronised(task, world=two, device=CPU)
    with pytest.raises(ConfigError, match=r"does not exist for _\w+"):
        synchronised(task, world=two, device=torch.device("cuda"))
    plain = build(make_config()).task
    assert synchronised(plain, world=two, device=CPU) is plain
    plain.extra = nn.BatchNorm1d(3)
    converted = synchronised(plain, world=two, device=torch.device("cuda"))
    assert type(converted.extra) is nn.SyncBatchNorm


def test_precision_and_device_follow_the_machine() -> None:
    assert precision_for(RunSection(), CPU) == "fp32"
    assert precision_for(RunSection(precision="bf16"), CPU) == "bf16"
    assert device_for(RunSection(device="cpu"), local_rank=5) == CPU


def test_a_teacher_by_name_or_fingerprint(data_maker: Any, raw: Any, tmp_path: Path) -> None:
    index = data_maker(tmp_path / "data", {"train": 8, "val": 8})

    def opened(teacher: str | None) -> str:
        config = PretrainConfig.model_validate(raw(index.root, data={"teacher": teacher}))
        return open_data(config).teacher.fingerprint

    assert opened(None) == opened("made") == opened("feed") == "feedfacecafe"
    shutil.copytree(index.root / "teachers" / "feedfacecafe", index.root / "teachers" / "feed00000000")
    for unclear in (None, "made", "feed"):
        with pytest.raises(TeacherCacheError, match="feed00000000"):
            opened(unclear)
    assert opened("feed0") == "feed00000000"
