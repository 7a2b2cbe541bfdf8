"""The learning rate against a loop that builds it step by step."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from imu_video.optim.schedule import learning_rate


def naive(steps: int, lr: float, min_lr: float, warmup_fraction: float) -> list[float]:
    warmup = min(round(warmup_fraction * steps), steps - 1)
    rising = [lr * i / (warmup + 1) for i in range(1, warmup + 1)]
    rest = steps - warmup
    falling = []
    for i in range(rest):
        share = i / (rest - 1) if rest > 1 else 0.0
        falling.append(min_lr + (lr - min_lr) * (math.cos(math.pi * share) + 1) / 2)
    return rising + falling


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1, 0.5, 0.99])
def test_equals_the_slow_twin(steps: int, warmup_fraction: float) -> None:
    fast = [learning_rate(s, steps=steps, lr=0.3, min_lr=0.01, warmup_fraction=warmup_fraction) for s in range(steps)]
    assert fast == pytest.approx(naive(steps, 0.3, 0.01, warmup_fraction))


def test_shape_over_a_run() -> None:
    rates = [learning_rate(s, steps=1000, lr=1e-3, min_lr=1e-6, warmup_fraction=0.1) for s in range(1000)]
    assert max(rates) == rates[100] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-6)
    assert all(a < b for a, b in pairwise(rates[:101]))
    assert all(a > b for a, b in pairwise(rates[100:]))


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_the_run_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="outside a run of 10"):
        learning_rate(step, steps=10, lr=1.0)
