"""An epoch shows every sample at most once, in an order that depends on nothing but seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imu_video.distributed import World
from imu_video.shards.plan import device_plan, epoch_plan, steps_in_epoch

seeds = st.integers(0, 2**31)
epochs = st.integers(0, 1000)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Samples, global batch and world size such that the batch divides and one batch fits."""
    world = draw(st.integers(1, 8))
    batch = world * draw(st.integers(1, 6))
    return draw(st.integers(batch, 200)), batch, world


@given(sizes(), seeds, epochs)
def test_ranks_partition_the_one_process_plan(size: tuple[int, int, int], seed: int, epoch: int) -> None:
    samples, batch, ranks = size
    plan = epoch_plan(samples, batch_size=batch, seed=seed, epoch=epoch)
    assert plan.shape == (samples // batch, batch) == (steps_in_epoch(samples, batch), batch)
    assert plan.dtype == np.int64
    assert len(np.unique(plan)) == plan.size  # nobody twice
    assert plan.min() >= 0
    assert plan.max() < samples
    per_rank = [plan[:, World(rank, ranks).rows(batch)] for rank in range(ranks)]
    assert all(part.shape == per_rank[0].shape for part in per_rank)
    np.testing.assert_array_equal(np.concatenate(per_rank, axis=1), plan)


@given(sizes(), seeds, epochs)
def test_the_plan_is_a_pure_function(size: tuple[int, int, int], seed: int, epoch: int) -> None:
    samples, batch, _ = size
    first = epoch_plan(samples, batch_size=batch, seed=seed, epoch=epoch)
    np.random.seed(1)  # noqa: NPY002 -- global state must not matter
    np.testing.assert_array_equal(epoch_plan(samples, batch_size=batch, seed=seed, epoch=epoch), first)


@given(seeds, epochs)
def test_when_the_batch_divides_everybody_is_seen(seed: int, epoch: int) -> None:
    plan = epoch_plan(48, batch_size=8, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.sort(plan.ravel()), np.arange(48))


@given(seeds, epochs)
def test_epochs_and_seeds_differ(seed: int, epoch: int) -> None:
    plan = epoch_plan(100, batch_size=10, seed=seed, epoch=epoch)
    assert not np.array_equal(plan, epoch_plan(100, batch_size=10, seed=seed, epoch=epoch + 1))
    assert not np.array_equal(plan, epoch_plan(100, batch_size=10, seed=seed + 1, epoch=epoch))


def test_those_left_over_change_from_epoch_to_epoch() -> None:
    seen = {i for epoch in range(60) for i in epoch_plan(11, batch_size=8, seed=0, epoch=epoch).ravel().tolist()}
    assert seen == set(range(11))


@given(st.integers(0, 2**31), epochs, st.integers(1, 60), st.integers(1, 5))
def test_drawn_devices_are_present(seed: int, epoch: int, samples: int, devices: int) -> None:
    rng = np.random.default_rng(seed)
    present = rng.random((samples, devices)) < 0.5
    present[np.arange(samples), rng.integers(0, devices, samples)] = True
    chosen = device_plan(present, seed=seed, epoch=epoch)
    assert chosen.shape == (samples,)
    assert present[np.arange(samples), chosen].all()
    np.testing.assert_array_equal(chosen, device_plan(present, seed=seed, epoch=epoch))


def test_devices_are_drawn_evenly_among_those_present() -> None:
    present = np.tile([True, False, True, True], (6000, 1))
    counts = np.bincount(device_plan(present, seed=3, epoch=1), minlength=4)
    assert counts[1] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]], 2000, atol=200)


def test_devices_do_not_follow_the_order_of_samples() -> None:
    present = np.ones((4000, 2), bool)
    order = epoch_plan(4000, batch_size=4000, seed=0, epoch=0)[0]
    devices = device_plan(present, seed=0, epoch=0)
    assert abs(np.corrcoef(order, devices)[0, 1]) < 0.1


def test_arguments_outside_their_range() -> None:
    with pytest.raises(ValueError, match="3 samples do not fill one batch of 4"):
        epoch_plan(3, batch_size=4, seed=0, epoch=0)
    with pytest.raises(ValueError, match="do not fill"):
        epoch_plan(3, batch_size=0, seed=0, epoch=0)
    with pytest.raises(ValueError, match="negative"):
        epoch_plan(3, batch_size=1, seed=-1, epoch=0)
    with pytest.raises(ValueError, match="sample 1 has no device"):
        device_plan(np.array([[True, False], [False, False]]), seed=0, epoch=0)
