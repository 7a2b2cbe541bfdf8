"""An epoch shows every sample at most once, in an order that depends on nothing but seed and epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imu_video.runtime.distributed import World
from imu_video.shards.batches.plan import Plan, device_plan, partners, quotas, second_device_plan

seeds = st.integers(0, 2**31)
epochs = st.integers(0, 1000)


def epoch_of(samples: int, *, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """(steps, batch_size) sample numbers of one epoch of one dataset."""
    plan = Plan(sizes=[samples], batch_size=batch_size, seed=seed)
    steps = plan.steps(1)
    return np.stack(rows_of(plan, range(epoch * steps, (epoch + 1) * steps)))


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Samples, global batch and world size such that the batch divides and one batch fits."""
    world = draw(st.integers(1, 8))
    batch = world * draw(st.integers(1, 6))
    return draw(st.integers(batch, 200)), batch, world


@given(sizes(), seeds, epochs)
def test_ranks_partition_the_one_process_plan(size: tuple[int, int, int], seed: int, epoch: int) -> None:
    samples, batch, ranks = size
    plan = epoch_of(samples, batch_size=batch, seed=seed, epoch=epoch)
    assert plan.shape == (samples // batch, batch)
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
    first = epoch_of(samples, batch_size=batch, seed=seed, epoch=epoch)
    np.random.seed(1)  # noqa: NPY002 -- global state must not matter
    np.testing.assert_array_equal(epoch_of(samples, batch_size=batch, seed=seed, epoch=epoch), first)


@given(seeds, epochs)
def test_when_the_batch_divides_everybody_is_seen(seed: int, epoch: int) -> None:
    plan = epoch_of(48, batch_size=8, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.sort(plan.ravel()), np.arange(48))


@given(seeds, epochs)
def test_epochs_and_seeds_differ(seed: int, epoch: int) -> None:
    plan = epoch_of(100, batch_size=10, seed=seed, epoch=epoch)
    assert not np.array_equal(plan, epoch_of(100, batch_size=10, seed=seed, epoch=epoch + 1))
    assert not np.array_equal(plan, epoch_of(100, batch_size=10, seed=seed + 1, epoch=epoch))


def test_those_left_over_change_from_epoch_to_epoch() -> None:
    seen = {i for epoch in range(60) for i in epoch_of(11, batch_size=8, seed=0, epoch=epoch).ravel().tolist()}
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


def test_second_devices_are_others_drawn_evenly_and_independently_of_the_first() -> None:
    present = np.tile([True, False, True, True], (6000, 1))
    present[0] = [False, True, False, False]
    first = device_plan(present, seed=3, epoch=1)
    second = second_device_plan(present, first, seed=3, epoch=1)
    assert second[0] == first[0] == 1, "a device that was worn alone is its own partner"
    assert (second[1:] != first[1:]).all()
    pairs = np.bincount(4 * first[1:] + second[1:], minlength=16)
    np.testing.assert_allclose(pairs[pairs > 0], 1000, atol=150)
    assert (pairs > 0).sum() == 6
    assert (second != second_device_plan(present, first, seed=3, epoch=2)).any()


def test_devices_do_not_follow_the_order_of_samples() -> None:
    present = np.ones((4000, 2), bool)
    order = epoch_of(4000, batch_size=4000, seed=0, epoch=0)[0]
    devices = device_plan(present, seed=0, epoch=0)
    assert abs(np.corrcoef(order, devices)[0, 1]) < 0.1


def test_arguments_outside_their_range() -> None:
    with pytest.raises(ValueError, match="3 samples do not fill one batch of 4"):
        Plan(sizes=[3], batch_size=4, seed=0)
    with pytest.raises(ValueError, match="do not fill"):
        Plan(sizes=[3], batch_size=0, seed=0)
    with pytest.raises(ValueError, match="seed -1"):
        Plan(sizes=[3], batch_size=1, seed=-1)
    with pytest.raises(ValueError, match="sample 1 has no device"):
        device_plan(np.array([[True, False], [False, False]]), seed=0, epoch=0)


def rows_of(plan: Plan, steps: range) -> list[np.ndarray]:
    return [np.concatenate([rows for _, rows in plan.batch(step)]) for step in steps]


shapes = st.tuples(st.integers(1, 16), st.integers(1, 5), st.integers(0, 99), st.integers(0, 2**33))


@settings(max_examples=60, deadline=None)
@given(shapes, st.lists(st.integers(1, 90), min_size=1, max_size=3))
def test_an_epoch_is_one_pass_over_all_and_any_world_size_may_take_over(
    shape: tuple[int, ...], sizes: list[int]
) -> None:
    ranks, local, stop, seed = shape
    batch, total = ranks * local, sum(sizes)
    if total < batch:
        return
    plan = Plan(sizes=sizes, batch_size=batch, seed=seed)
    steps = plan.steps(1)
    epoch = np.concatenate(rows_of(plan, range(steps, 2 * steps)))
    assert len(np.unique(epoch)) == len(epoch) == total // batch * batch
    # ranks of one world until `stop`, of another one after: together still every sample once
    stop = stop % (steps + 1)
    other = next(n for n in (2, 3, 1) if batch % n == 0)
    seen = []
    for step, batch_rows in enumerate(rows_of(Plan(sizes=sizes, batch_size=batch, seed=seed), range(steps))):
        world = ranks if step < stop else other
        seen += [batch_rows[World(rank, world).rows(batch)] for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate(rows_of(plan, range(steps))))


def test_one_dataset_keeps_the_order_it_always_had() -> None:
    # Recorded numbers: another order would make a resumed run see samples twice.
    assert epoch_of(50, batch_size=8, seed=3, epoch=0)[0].tolist() == [2, 11, 17, 28, 32, 23, 30, 41]
    assert epoch_of(50, batch_size=8, seed=3, epoch=2)[0].tolist() == [17, 12, 34, 7, 24, 4, 35, 30]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0.5, 1.0, 2.0, 3.5])), min_size=2, max_size=4),
    st.integers(0, 1000),
    st.integers(1, 5),
)
def test_weights_give_quotas_and_every_sample_its_fair_share(
    datasets: list[tuple[int, float]], seed: int, epochs: int
) -> None:
    sizes, weights = [n for n, _ in datasets], [w for _, w in datasets]
    plan = Plan(sizes=sizes, weights=weights, batch_size=1, seed=seed)
    wanted = quotas(sizes, weights)
    assert wanted[0] == sizes[0]
    assert wanted[1:] == [max(1, round(sizes[0] * w / weights[0])) for w in weights[1:]]
    counts = np.zeros(sum(sizes), int)
    starts = np.cumsum([0, *sizes])
    for epoch in range(epochs):
        steps = range(plan.steps(epoch), plan.steps(epoch + 1))
        shown = np.bincount(np.concatenate(rows_of(plan, steps)), minlength=sum(sizes))
        for number, quota in enumerate(wanted):
            assert shown[starts[number] : starts[number + 1]].sum() == quota
        assert (shown[: sizes[0]] == 1).all()  # the reference: exactly once
        counts += shown
    for number in range(len(sizes)):
        part = counts[starts[number] : starts[number + 1]]
        assert part.max() - part.min() <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 40), st.integers(0, 2**31), st.integers(1, 4))
def test_what_is_carried_over_is_never_lost(batch: int, extra: int, seed: int, epochs: int) -> None:
    total = 4 * batch + extra
    plan = Plan(sizes=[total], batch_size=batch, seed=seed, leftover="carry")
    batches = rows_of(plan, range(plan.steps(epochs)))
    assert len(batches) == epochs * total // batch
    assert all(len(np.unique(rows)) == batch for rows in batches)  # also where two epochs meet
    stream = np.concatenate(batches)
    for epoch in range(epochs - 1):
        np.testing.assert_array_equal(np.sort(stream[epoch * total : (epoch + 1) * total]), np.arange(total))
    np.testing.assert_array_equal(rows_of(plan, range(3, 4)), batches[3:4])


def test_epochs_of_rows_that_are_carried_over() -> None:
    plan = Plan(sizes=[10], batch_size=2, seed=0, leftover="carry")
    assert [[epoch for epoch, _ in plan.batch(step)] for step in (0, 4, 5)] == [[0], [0], [1]]
    plan = Plan(sizes=[13], batch_size=3, seed=0, leftover="carry")
    assert [(epoch, len(rows)) for epoch, rows in plan.batch(4)] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("leftover", ["drop", "carry"])
def test_the_number_of_epochs_is_the_inverse_of_the_number_of_steps(leftover: Any) -> None:
    for samples, batch in [(13, 3), (12, 3), (40, 7)]:
        plan = Plan(sizes=[samples], batch_size=batch, seed=0, leftover=leftover)
        ends = [plan.steps(epochs) for epochs in range(1, 6)]
        assert [plan.epochs(step) for step in ends] == [1, 2, 3, 4, 5]
        assert [plan.epochs(step - 1) for step in ends] == [0, 1, 2, 3, 4]


def test_replacement_draws_by_weight_and_no_sample_twice_in_a_batch() -> None:
    chances = np.array([1.0] * 30 + [3.0] * 10)
    plan = Plan(sizes=[40], batch_size=5, seed=1, sampling="replacement", chances=chances)
    batches = rows_of(plan, range(4000))
    assert all(len(np.unique(rows)) == 5 for rows in batches)
    first = np.bincount([rows[0] for rows in batches], minlength=40)
    np.testing.assert_allclose(first[30:].sum() / 4000, 0.5, atol=0.03)
    np.testing.assert_array_equal(rows_of(plan, range(7, 8))[0], batches[7])
    mixed = Plan(sizes=[10, 90], weights=[1, 1], batch_size=1, seed=1, sampling="replacement")
    shares = np.concatenate(rows_of(mixed, range(4000))) < 10
    np.testing.assert_allclose(shares.mean(), 0.5, atol=0.03)


def test_replacement_fills_a_batch_however_uneven_the_weights() -> None:
    chances = np.array([1.0] + [1e-12] * 7)
    plan = Plan(sizes=[8], batch_size=8, seed=0, sampling="replacement", chances=chances)
    assert sorted(rows_of(plan, range(1))[0].tolist()) == list(range(8))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": [3]}, "3 samples do not fill one batch of 4"),
        ({"sizes": [9], "leftover": "carry"}, "carry"),
        ({"weights": [1.0, 2.0]}, "as many positive weights"),
        ({"weights": [0.0]}, "as many positive weights"),
        ({"sampling": "twice"}, "twice"),
        ({"sampling": "replacement", "chances": np.zeros(9)}, "9 positive numbers"),
        ({"groups": np.arange(9) % 2, "per_batch": 3}, "same number of samples of 3 groups"),
        ({"groups": np.arange(9) // 8}, "1 of 2 groups have that many, the smallest has 1"),
        ({"groups": np.zeros(9), "per_batch": 2}, "of each of 2 groups; 1 of 1"),
        ({"sizes": [19], "groups": np.zeros(19), "leftover": "carry"}, "batches of few groups"),
    ],
)
def test_plans_that_cannot_be(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**{"sizes": [9], "batch_size": 4, "seed": 0, **changed})
    with pytest.raises(ValueError, match="negative"):
        Plan(sizes=[9], batch_size=4, seed=0).batch(-1)


@given(st.integers(2, 300), st.integers(0, 2**31))
def test_partners_are_other_samples_each_once(samples: int, seed: int) -> None:
    found = partners(samples, seed=seed)
    np.testing.assert_array_equal(np.sort(found), np.arange(samples))
    assert (found != np.arange(samples)).all()
    np.testing.assert_array_equal(found, partners(samples, seed=seed))


def test_every_other_sample_is_equally_likely_a_partner() -> None:
    first = np.array([partners(5, seed=seed)[0] for seed in range(2000)])
    counts = np.bincount(first, minlength=5)
    assert counts[0] == 0
    assert abs(counts[1:] - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)
    with pytest.raises(ValueError, match="mismatched pairs require at least two"):
        partners(1, seed=0)


@pytest.mark.slow
def test_ten_million_samples_take_bounded_memory() -> None:
    import tracemalloc

    samples, batch = 10_000_000, 4096
    tracemalloc.start()
    plan = Plan(sizes=[samples], batch_size=batch, seed=0)
    rows = np.concatenate([part for step in (0, 7, plan.steps(1) - 1) for _, part in plan.batch(step)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(rows)) == 3 * batch
    assert (rows.min() >= 0, rows.max() < samples) == (True, True)
    # One order of int64 numbers, and the copies that numpy makes of it: not an object per sample.
    assert peak < 3 * 8 * samples


@given(st.lists(st.integers(6, 40), min_size=2, max_size=6), st.sampled_from([1, 2]), seeds)
def test_batches_of_few_groups(counts: list[int], per_batch: int, seed: int) -> None:
    """Equally many samples of each group, nothing twice in an epoch, and as many batches as the counts allow."""
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    plan = Plan(sizes=[len(groups)], batch_size=6, seed=seed, groups=groups, per_batch=per_batch)
    batches = rows_of(plan, range(plan.steps(1)))
    for rows in batches:
        assert sorted(np.unique(groups[rows], return_counts=True)[1].tolist()) == [6 // per_batch] * per_batch
    assert len(np.unique(np.concatenate(batches))) == 6 * len(batches)
    pieces = np.array(counts) // (6 // per_batch)
    assert len(batches) == (pieces.sum() if per_batch == 1 else min(pieces.sum() // 2, pieces.sum() - pieces.max()))
    again = rows_of(plan, range(plan.steps(1), 2 * plan.steps(1)))
    assert any(not np.array_equal(a, b) for a, b in zip(batches, again, strict=True)) or len(groups) == 6


def test_groups_take_turns_with_replacement() -> None:
    groups, chances = np.repeat(np.arange(5), 20), np.tile([1.0] * 10 + [9.0] * 10, 5)
    options = {"sizes": [100], "batch_size": 4, "seed": 3, "groups": groups, "per_batch": 2, "chances": chances}
    plan = Plan(**options, sampling="replacement")
    assert plan.steps(1) == 2
    batches = rows_of(plan, range(2000))
    for first in range(0, 2000, 2):
        both = np.concatenate(batches[first : first + 2])
        assert np.unique(groups[both], return_counts=True)[1].tolist() == [2, 2, 2, 2], "no group twice in an epoch"
    rows = np.concatenate(batches)
    np.testing.assert_allclose(
        (rows % 20 >= 10).mean(), 0.89, atol=0.02
    )  # 0.9, less what drawing without repetition costs
    np.testing.assert_array_equal(rows_of(plan, range(7, 8))[0], batches[7])
