"""Batches are an address book: the same step gives the same rows on every rank, in any order of asking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imu_video.errors import ConfigError
from imu_video.runtime.distributed import World
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.schema import Index

N = 40


@pytest.fixture(scope="module")
def columns(shared_folder: Index) -> Columns:
    return open_columns(shared_folder, "train")


@pytest.fixture(scope="module")
def teacher() -> np.ndarray:
    """(N, 5) float16 features that tell their row; rows 4, 8, 12 ... of every fourth sample lack the clip."""
    rows = np.arange(N, dtype=np.float16)[:, None] + np.linspace(0, 0.5, 5, dtype=np.float16)
    rows[::4] = np.nan
    return rows


def test_a_batch_holds_what_the_columns_hold(columns: Columns, teacher: np.ndarray) -> None:
    loader = PairLoader(columns=columns, teacher=teacher, batch_size=10, seed=7)
    assert loader.steps_per_epoch == 3
    np.testing.assert_array_equal(loader.usable, [i for i in range(N) if i % 4])
    for step in (0, 2, 5):
        batch = loader.batch(step)
        rows, devices = loader.rows(step)
        np.testing.assert_array_equal(batch.meta.sample, rows)
        np.testing.assert_array_equal(batch.meta.device, devices)
        truth = np.stack([columns.imu[row, device] for row, device in zip(rows, devices, strict=True)])
        assert batch.imu.dtype == torch.float32
        np.testing.assert_array_equal(batch.mask, ~np.isnan(truth))
        np.testing.assert_array_equal(batch.imu, np.nan_to_num(truth))
        assert batch.teacher.dtype == torch.float16  # as cached; the features become float32 where the batch goes
        assert batch.to("cpu").teacher.dtype == torch.float32
        np.testing.assert_array_equal(batch.to("cpu").teacher, teacher[rows].astype(np.float32))
        np.testing.assert_array_equal(batch.meta.recording, columns.recording_id[rows])
        np.testing.assert_array_equal(batch.meta.time, columns.start[rows])
        np.testing.assert_array_equal(batch.meta.subject, columns.subject_id[rows])
        assert batch.meta.time.dtype == torch.float64
        assert columns.present[rows, devices].all()
    assert not batch.mask.all()  # the waist's first two samples are missing in every window


def test_the_order_is_the_plan(columns: Columns, teacher: np.ndarray) -> None:
    loader = PairLoader(columns=columns, teacher=teacher, batch_size=10, seed=7)
    for epoch in (0, 3):
        plan = np.random.default_rng([7, epoch, 0]).permutation(30).reshape(3, 10)
        for i in range(3):
            np.testing.assert_array_equal(loader.rows(3 * epoch + i)[0], loader.usable[plan[i]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(1, 3), st.integers(0, 50), st.integers(0, 2**20))
def test_ranks_together_are_one_process(
    columns: Columns, teacher: np.ndarray, ranks: int, local: int, step: int, seed: int
) -> None:
    batch_size = ranks * local
    alone = PairLoader(columns=columns, teacher=teacher, batch_size=batch_size, seed=seed).batch(step)
    parts = [
        PairLoader(columns=columns, teacher=teacher, batch_size=batch_size, seed=seed, world=World(rank, ranks)).batch(
            step
        )
        for rank in range(ranks)
    ]
    assert all(len(part.imu) == local for part in parts)
    for name in ("imu", "mask", "teacher"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(alone, name))
    for name in ("sample", "recording", "time", "device", "subject"):
        assert torch.equal(torch.cat([getattr(p.meta, name) for p in parts]), getattr(alone.meta, name))


def test_resuming_is_random_access(columns: Columns, teacher: np.ndarray) -> None:
    straight = PairLoader(columns=columns, teacher=teacher, batch_size=8, seed=1)
    walked = [straight.batch(step) for step in range(12)]
    for step in (11, 4, 7, 0):
        fresh = PairLoader(columns=columns, teacher=teacher, batch_size=8, seed=1).batch(step)
        assert torch.equal(fresh.imu, walked[step].imu)
        assert torch.equal(fresh.meta.device, walked[step].meta.device)


def test_an_epoch_shows_nobody_twice_and_devices_change(columns: Columns, teacher: np.ndarray) -> None:
    loader = PairLoader(columns=columns, teacher=teacher, batch_size=6, seed=1)
    drawn = []
    for epoch in range(4):
        steps = range(epoch * loader.steps_per_epoch, (epoch + 1) * loader.steps_per_epoch)
        batches = [loader.batch(step) for step in steps]
        samples = torch.cat([b.meta.sample for b in batches])
        assert len(samples.unique()) == len(samples) == 30
        devices = torch.cat([b.meta.device for b in batches])[samples.argsort()]
        drawn.append(devices)
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_devices_restrict_the_draw_and_the_samples(columns: Columns, teacher: np.ndarray) -> None:
    loader = PairLoader(columns=columns, teacher=teacher, devices=["right_wrist"], batch_size=4, seed=0)
    np.testing.assert_array_equal(loader.usable, [i for i in range(N) if i % 4 and i % 3])
    assert (loader.batch(3).meta.device == columns.placements.index("right_wrist")).all()
    with pytest.raises(ConfigError, match="did you mean 'right_wrist'"):
        PairLoader(columns=columns, teacher=teacher, devices=["rightwrist"], batch_size=4, seed=0)


def test_without_a_teacher_every_window_with_a_device_is_usable(columns: Columns, teacher: np.ndarray) -> None:
    loader = PairLoader(columns=columns, batch_size=8, seed=0)
    np.testing.assert_array_equal(loader.usable, np.arange(N))
    batch = loader.batch(0)
    assert batch.teacher is batch.devices is batch.devices_mask is None
    assert batch.others == {}


def test_all_devices_of_a_window_come_along(columns: Columns, teacher: np.ndarray) -> None:
    asked = {"columns": columns, "teacher": teacher, "batch_size": 10, "seed": 7}
    batch = PairLoader(**asked, all_devices=True).batch(1)
    plain = PairLoader(**asked).batch(1)
    assert torch.equal(batch.imu, plain.imu)
    truth = columns.imu[batch.meta.sample.numpy()]
    np.testing.assert_array_equal(batch.devices_mask, ~np.isnan(truth))
    np.testing.assert_array_equal(batch.devices, np.nan_to_num(truth))
    rows = torch.arange(10)
    assert torch.equal(batch.devices[rows, batch.meta.device], batch.imu)
    one = PairLoader(**asked, devices=["waist"], all_devices=True).batch(1)
    assert not one.devices_mask[:, columns.device("right_wrist")].any()
    assert not one.devices[:, columns.device("right_wrist")].any()
    assert one.devices_mask[:, columns.device("waist")].any(dim=(1, 2)).all()


def test_the_window_of_another_device_comes_along(columns: Columns, teacher: np.ndarray) -> None:
    asked = {"columns": columns, "teacher": teacher, "batch_size": 10, "seed": 7}
    loader, plain = PairLoader(**asked, second_device=True), PairLoader(**asked)
    for step in range(2 * loader.steps_per_epoch):
        batch = loader.batch(step)
        assert torch.equal(batch.imu, plain.batch(step).imu)
        assert plain.batch(step).imu_two is None
        rows, first = batch.meta.sample.numpy(), batch.meta.device.numpy()
        there = np.isfinite(columns.imu[rows]).any((2, 3))
        for number, row in enumerate(rows):
            others = [v for v in np.flatnonzero(there[number]) if v != first[number]] or [first[number]]
            windows = [np.nan_to_num(columns.imu[row, v]) for v in others]
            assert any(np.array_equal(batch.imu_two[number], window) for window in windows)
        parts = [PairLoader(**asked, second_device=True, world=World(rank=r, size=2)).batch(step) for r in (0, 1)]
        assert torch.equal(torch.cat([part.imu_two for part in parts]), batch.imu_two)


def test_skeletons_come_along_and_windows_without_are_left_out(
    columns: Columns, teacher: np.ndarray, tmp_path: Path
) -> None:
    loader = PairLoader(columns=columns, teacher=teacher, batch_size=8, seed=0, streams=["skeleton"])
    np.testing.assert_array_equal(loader.usable, [i for i in range(N) if i % 4 and i % 5])
    batch = loader.batch(2)
    assert batch.others["skeleton"].dtype == torch.float32
    np.testing.assert_array_equal(batch.others["skeleton"], columns.streams["skeleton"][batch.meta.sample.numpy()])
    with pytest.raises(ConfigError, match="24 of 40 samples have teacher features and skeleton and a device"):
        PairLoader(columns=columns, teacher=teacher, batch_size=25, seed=0, streams=["skeleton"])
    with pytest.raises(ConfigError, match="has no skeleton"):
        PairLoader(columns=replace(columns, streams={}), teacher=teacher, batch_size=8, seed=0, streams=["skeleton"])


def test_permuted_pairs_are_fixed_and_alike_on_all_ranks(columns: Columns, teacher: np.ndarray) -> None:
    asked = {"columns": columns, "teacher": teacher, "batch_size": 8, "seed": 3, "streams": ["skeleton"]}
    loader, true = PairLoader(**asked, pairs="permuted"), PairLoader(**asked)
    seen: dict[int, int] = {}
    for step in range(4 * loader.steps_per_epoch):
        batch, plain = loader.batch(step), true.batch(step)
        assert torch.equal(batch.imu, plain.imu)
        for name in ("sample", "recording", "time", "device", "subject"):
            assert torch.equal(getattr(batch.meta, name), getattr(plain.meta, name))
        others = batch.teacher[:, 0].long().numpy()  # a feature tells its row
        np.testing.assert_array_equal(batch.others["skeleton"], columns.streams["skeleton"][others])
        np.testing.assert_array_equal(loader.features(batch.meta.sample.numpy()), batch.teacher)
        for sample, other in zip(batch.meta.sample.tolist(), others.tolist(), strict=True):
            assert other != sample
            assert seen.setdefault(sample, other) == other
    assert set(seen) == set(seen.values()) == set(loader.usable.tolist())
    halves = [PairLoader(**asked, pairs="permuted", world=World(rank, 2)).batch(5) for rank in range(2)]
    assert torch.equal(torch.cat([half.teacher for half in halves]), loader.batch(5).teacher)


def test_redrawn_pairs_are_others_in_each_epoch_and_alike_on_all_ranks(columns: Columns, teacher: np.ndarray) -> None:
    asked = {"columns": columns, "teacher": teacher, "batch_size": 8, "seed": 3}
    loader, true = PairLoader(**asked, pairs="redrawn"), PairLoader(**asked)
    seen: dict[int, set[int]] = {}
    steps = 4 * loader.steps_per_epoch
    for step in range(steps):
        batch = loader.batch(step)
        assert torch.equal(batch.imu, true.batch(step).imu)
        for sample, other in zip(batch.meta.sample.tolist(), batch.teacher[:, 0].long().tolist(), strict=True):
            assert other != sample
            seen.setdefault(sample, set()).add(other)
    assert np.mean([len(others) for others in seen.values()]) > 2
    halves = [PairLoader(**asked, pairs="redrawn", world=World(rank, 2)).batch(steps - 1) for rank in range(2)]
    assert torch.equal(torch.cat([half.teacher for half in halves]), batch.teacher)


def test_another_batch_size_is_as_if_made_with_it(columns: Columns, teacher: np.ndarray) -> None:
    options = {"columns": columns, "teacher": teacher, "seed": 3, "pairs": "redrawn"}
    first = PairLoader(**options, batch_size=1)
    before = [first.batch(step) for step in range(40)]
    for batch_size, world in ((8, World()), (6, World(1, 2))):
        made, again = (
            PairLoader(**options, batch_size=batch_size, world=world),
            first.rebatched(batch_size=batch_size, world=world),
        )
        assert again.pool is first.pool
        assert again.steps_per_epoch == made.steps_per_epoch
        for step in (0, 3, 9):
            assert torch.equal(again.batch(step).imu, made.batch(step).imu)
            assert torch.equal(again.batch(step).teacher, made.batch(step).teacher)
            assert torch.equal(again.batch(step).meta.sample, made.batch(step).meta.sample)
    for step, batch in enumerate(before):  # the first loader is as it was
        assert torch.equal(first.batch(step).imu, batch.imu)
    with pytest.raises(ConfigError, match=r"30 of 40 samples have teacher features(.|\n)*batch_size is 31"):
        first.rebatched(batch_size=31)
    with pytest.raises(ConfigError, match="does not divide evenly over 4 ranks"):
        first.rebatched(batch_size=6, world=World(0, 4))


@pytest.mark.parametrize(
    ("ranks", "leftover", "size"), [(1, "drop", 15), (4, "drop", 12), (1, "carry", 7), (2, "carry", 6)]
)
def test_the_proposed_batch_size_works(
    columns: Columns, teacher: np.ndarray, ranks: int, leftover: str, size: int
) -> None:
    options: dict[str, Any] = {"columns": columns, "teacher": teacher, "seed": 0, "leftover": leftover}
    with pytest.raises(ConfigError, match="batch_size is 64") as error:
        PairLoader(**options, batch_size=64, world=World(0, ranks))
    assert error.value.hint == f"use a smaller batch: data.batch_size={size}"
    assert len(PairLoader(**options, batch_size=size, world=World(0, ranks)).batch(0).imu) == size // ranks


def test_what_cannot_work_is_refused_at_once(columns: Columns, teacher: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"30 of 40 samples have teacher features(.|\n)*batch_size is 31"):
        PairLoader(columns=columns, teacher=teacher, batch_size=31, seed=0)
    with pytest.raises(ConfigError, match="does not divide evenly over 4 ranks"):
        PairLoader(columns=columns, teacher=teacher, batch_size=6, seed=0, world=World(0, 4))
    with pytest.raises(ConfigError, match=r"shape \(39, 5\), expected \(N, Dt\) with N=40"):
        PairLoader(columns=columns, teacher=teacher[:-1], batch_size=6, seed=0)
    with pytest.raises(ConfigError, match="0 of 40 samples"):
        PairLoader(columns=columns, teacher=np.full_like(teacher, np.nan), batch_size=6, seed=0)
    with pytest.raises(ValueError, match="negative"):
        PairLoader(columns=columns, teacher=teacher, batch_size=6, seed=0).batch(-1)
