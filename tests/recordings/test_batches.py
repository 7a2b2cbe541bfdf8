"""Which batches a stream has, and which samples were lost between them."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.recordings.batches import Batches, find_batches, slots

TRUE = np.arange(3000) / 50.0


def found(stamps: np.ndarray) -> Batches:
    batches = find_batches(stamps)
    assert batches is not None
    return batches


@pytest.mark.parametrize("size", [2, 5, 64, 500])
def test_packets_of_any_length(size: int) -> None:
    """Also longer than a second, and stamped one by one while they are read out."""
    index = np.arange(len(TRUE) // size * size)
    stamps = 0.013 + ((index // size + 1) * size - 1) / 50.0 + 0.0005 * (index % size)
    batches = found(stamps)
    assert (batches.kind, batches.unit) == ("packets", size)
    assert batches.period == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize(("rate", "tick"), [(30.0, 1.0), (51.2, 1.0), (50.0, 60.0), (102.4, 1 / 64), (240.0, 0.01)])
def test_clocks_of_a_coarse_resolution(rate: float, tick: float) -> None:
    times = 1.7e9 + np.arange(int(4 * max(tick, 2.0) * rate)) / rate
    batches = found(np.floor(times / tick) * tick)
    assert (batches.kind, batches.tick_s) == ("ticks", tick)
    assert batches.period == pytest.approx(1 / rate, rel=0.01)


@pytest.mark.parametrize(
    "stamps",
    [
        TRUE,
        np.round(TRUE, 2),
        np.arange(20.0),
        TRUE + np.random.default_rng(0).normal(0, 0.005, len(TRUE)),
        np.concatenate([TRUE[:500] + 60.0 * minute for minute in range(6)]),  # ten seconds of every minute
        TRUE + 18.0 * (TRUE > 20),
    ],
    ids=["even", "rounded", "one per second", "jitter", "duty cycle", "pause"],
)
def test_samples_with_a_stamp_of_their_own(stamps: np.ndarray) -> None:
    batches = found(stamps)
    assert batches.kind == "samples"
    assert batches.period == pytest.approx(float(np.median(np.diff(stamps))), rel=0.05)


def test_packets_stamped_with_the_resolution_of_the_clock_are_no_ticks() -> None:
    batches = found(np.repeat(np.arange(300) * 0.05, 10))  # 200 Hz, ten samples per packet, hundredths of a second
    assert batches.kind == "packets"


def test_stamps_that_never_advance() -> None:
    assert find_batches(np.zeros(10)) is None
    assert find_batches(np.arange(5.0)[::-1]) is None


def test_lost_packets_are_counted_and_late_ones_are_not_lost() -> None:
    size = 10
    last = np.arange(300) * size + size - 1
    arrived = 0.5 + last * 0.02
    arrived[100:104] += np.array([0.75, 0.56, 0.37, 0.18])  # a backlog: four packets arrive almost at once
    kept = np.ones(300, dtype=bool)
    kept[[40, 41, 200]] = False
    stamps = np.repeat(arrived[kept], size)
    batches = found(stamps)
    index, seen = batches.anchors(stamps)
    lost, period = slots(index, seen, batches)
    expected = np.repeat(np.cumsum(~kept)[kept] * size, size)
    np.testing.assert_array_equal(lost, expected[index.astype(int)])
    assert period == pytest.approx(0.02, rel=1e-4)
