"""Several datasets in one pool: rows, devices and people of each stay what they are; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError
from imu_video.shards.batches.arrays import window_motion
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.schema import Index


@pytest.fixture(scope="module")
def pair(shared_folder: Index, tmp_path_factory: pytest.TempPathFactory) -> tuple[Columns, Columns]:
    """Splits of 40 and 5 samples; the second calls its waist an ankle."""
    first, second = open_columns(shared_folder, "train"), open_columns(shared_folder, "val")
    return first, replace(second, placements=("right_wrist", "ankle"))


def features(columns: Columns, base: float, kind: type) -> np.ndarray:
    return (base + np.arange(len(columns))[:, None] + np.zeros(3)).astype(kind)


def test_rows_of_a_mixture_are_the_rows_of_its_datasets(pair: tuple[Columns, Columns]) -> None:
    first, second = pair
    teachers = [features(first, 0, np.float16), features(second, 100, np.float32)]
    loader = PairLoader(columns=pair, teacher=teachers, batch_size=15, seed=0, all_devices=True)
    assert loader.pool.placements == ("ankle", "right_wrist", "waist")
    assert loader.steps_per_epoch == 3
    seen = []
    for step in range(3):
        batch = loader.batch(step).to("cpu")
        for i, row in enumerate(batch.meta.sample.tolist()):
            columns, own, number = (first, row, 0) if row < 40 else (second, row - 40, 1)
            name = loader.pool.placements[batch.meta.device[i]]
            truth = columns.select(name)[own]
            np.testing.assert_array_equal(batch.imu[i], np.nan_to_num(truth))
            np.testing.assert_array_equal(batch.mask[i], ~np.isnan(truth))
            assert batch.teacher[i, 0] == own + 100 * number
            assert batch.meta.time[i] == columns.start[own]
            for place, other in enumerate(loader.pool.placements):
                there = other in columns.placements
                view = columns.select(other)[own] if there else np.full_like(truth, np.nan)
                np.testing.assert_array_equal(batch.devices[i, place], np.nan_to_num(view))
                np.testing.assert_array_equal(batch.devices_mask[i, place], ~np.isnan(view))
            seen.append(row)
    assert sorted(seen) == list(range(45))


def test_people_and_recordings_of_two_datasets_are_different(pair: tuple[Columns, Columns]) -> None:
    pool = PairLoader(columns=[pair[0], pair[0]], batch_size=4, seed=0).pool
    for numbers in (pool.subject, pool.recording):
        assert not set(numbers[:40]) & set(numbers[40:])
        np.testing.assert_array_equal(numbers[:40], numbers[40:] - (numbers[:40].max() + 1))


def test_weights_set_the_share_of_each(pair: tuple[Columns, Columns]) -> None:
    loader = PairLoader(columns=pair, weights=[2.0, 1.0], batch_size=20, seed=0)
    assert loader.steps_per_epoch == 3  # 40 of the reference, 20 of the other
    rows = torch.cat([loader.batch(step).meta.sample for step in range(3)])
    counts = np.bincount(rows, minlength=45)
    assert (counts[:40] == 1).all()
    assert (counts[40:] == 4).all()


def test_balance_gives_people_the_same_chance(pair: tuple[Columns, Columns]) -> None:
    first = pair[0]
    loader = PairLoader(columns=first, batch_size=4, seed=0, sampling="replacement", balance="subject")
    people = torch.cat([loader.batch(step).meta.subject[:1] for step in range(1500)])
    counts = np.bincount(people)
    assert len(counts) == 7  # the last one has 4 windows, the others 6
    np.testing.assert_allclose(counts / 1500, 1 / 7, atol=0.03)
    with pytest.raises(ConfigError, match="sampling=replacement"):
        PairLoader(columns=first, batch_size=4, seed=0, balance="subject")


def test_weighting_by_motion_draws_windows_in_proportion(pair: tuple[Columns, Columns]) -> None:
    first = pair[0]
    motion = np.zeros(len(first))
    for row in range(len(first)):  # the slow twin of window_motion
        spreads = []
        for name in first.placements:
            acceleration = first.select(name)[row, :3].astype(np.float64)
            spreads += [np.nanstd(axis) for axis in acceleration if np.isfinite(axis).any()]
        motion[row] = np.mean(spreads)
    np.testing.assert_allclose(window_motion(first), motion, rtol=1e-9)
    loader = PairLoader(columns=first, batch_size=2, seed=0, sampling="replacement", weighting="std")
    drawn = np.bincount(torch.cat([loader.batch(s).meta.sample[:1] for s in range(2000)]), minlength=len(first))
    np.testing.assert_allclose(drawn / 2000, motion / motion.sum(), atol=0.02)
    with pytest.raises(ConfigError, match="sampling=replacement"):
        PairLoader(columns=first, batch_size=2, seed=0, weighting="std")


def test_batches_of_one_subject(pair: tuple[Columns, Columns]) -> None:
    loader = PairLoader(columns=pair, batch_size=4, seed=0, subjects_per_batch=1)
    batches = [loader.batch(step) for step in range(loader.steps_per_epoch)]
    assert all(len(batch.meta.subject.unique()) == 1 for batch in batches)
    samples = torch.cat([batch.meta.sample for batch in batches])
    assert len(samples.unique()) == len(samples)
    with pytest.raises(ConfigError, match=r"5 samples of each of 1 groups; .* the smallest has 4"):
        PairLoader(columns=pair[0], batch_size=5, seed=0, subjects_per_batch=1)


def test_skeletons_of_mixtures(pair: tuple[Columns, Columns]) -> None:
    loader = PairLoader(columns=pair, batch_size=8, seed=0, streams=["skeleton"])
    batch = loader.batch(0)
    for i, row in enumerate(batch.meta.sample.tolist()):
        own = pair[0].streams["skeleton"][row] if row < 40 else pair[1].streams["skeleton"][row - 40]
        np.testing.assert_array_equal(batch.others["skeleton"][i], own)
    other = replace(pair[1], streams={"skeleton": np.zeros((5, 2, 4, 3), np.float32)})
    with pytest.raises(ConfigError, match=r"skeleton .* differs between"):
        PairLoader(columns=[pair[0], other], batch_size=8, seed=0, streams=["skeleton"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: replace(c, rate_hz=20.0),
            r"rate in Hz: 10\.0 \(\w+, split 'train'\) and 20\.0",
        ),
        (lambda c: replace(c, imu=c.imu[..., :10]), "samples in a window: 20 .* and 10"),
        (lambda c: replace(c, channels=c.channels[::-1]), "channels"),
    ],
)
def test_what_does_not_fit_names_both(
    pair: tuple[Columns, Columns], change: Callable[[Columns], Columns], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        PairLoader(columns=[pair[0], change(pair[1])], batch_size=4, seed=0)


def test_features_that_do_not_fit(pair: tuple[Columns, Columns]) -> None:
    good = [features(c, 0, np.float32) for c in pair]
    with pytest.raises(ConfigError, match=r"shape \(5, 2\)|different widths \[2, 3\]"):
        PairLoader(columns=pair, teacher=[good[0], good[1][:, :2]], batch_size=4, seed=0)
    with pytest.raises(ConfigError, match="teacher features of 1"):
        PairLoader(columns=pair, teacher=good[:1], batch_size=4, seed=0)
    nobody = np.full_like(good[1], np.nan)
    with pytest.raises(ConfigError, match="split 'val': 0 of 5 samples"):
        PairLoader(columns=pair, teacher=[good[0], nobody], batch_size=4, seed=0)


def test_a_mask_that_is_written_to_is_not_given_out_again(pair: tuple[Columns, Columns]) -> None:
    whole = replace(pair[0], complete=np.ones_like(pair[0].complete), present=np.ones_like(pair[0].present))
    loader = PairLoader(columns=whole, batch_size=8, seed=0)
    first, second = loader.batch(0).mask, loader.batch(1).mask
    assert first.all()
    assert first is second
    first[0] = False
    assert loader.batch(2).mask.all()


def test_ten_windows_of_a_mixture_on_disk(folder_maker: Callable[..., Index], tmp_path: Path) -> None:
    """Two real folders, opened from disk."""
    folders = [folder_maker(tmp_path / name, {"train": n}) for name, n in (("a", 6), ("b", 9))]
    loader = PairLoader(columns=[open_columns(f, "train") for f in folders], batch_size=5, seed=2, leftover="drop")
    assert sorted(torch.cat([loader.batch(s).meta.sample for s in range(3)]).tolist()) == list(range(15))
