"""The learning rate against a loop that builds it step by step."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from imu_video.optim.schedule import cosine_factor, learning_rate, ramped_cosine


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


def test_published_schedules_end_one_step_after_the_last() -> None:
    """torch's CosineAnnealingLR, and the linear schedule of transformers."""
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9, eta_min=0.01)
    expected = []
    for _ in range(9):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert [learning_rate(s, steps=9, lr=0.3, min_lr=0.01, end="after") for s in range(9)] == pytest.approx(expected)
    linear = [learning_rate(s, steps=10, lr=1.0, warmup_fraction=0.25, decay="linear", end="after") for s in range(10)]
    assert linear == pytest.approx([0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    assert learning_rate(0, steps=1, lr=0.3, warmup_fraction=0.5, end="after") == 0.3


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


def test_the_warm_up_of_fine_tuning_is_a_share_of_the_steps() -> None:
    assert [cosine_factor(step, 10, 0.0) for step in (0, 10)] == [1.0, 0.0]
    assert [cosine_factor(step, 10, 0.5) for step in range(5)] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(cosine_factor(step, n) == cosine_factor(step, n, 0.1) for n in (5, 30, 70) for step in range(n))


def test_the_ramp_multiplies_the_cosine() -> None:
    for steps in (1, 7, 100):
        rates = [ramped_cosine(step, steps=steps, lr=0.3) for step in range(steps)]
        half = [0.3 * math.cos(math.pi * step / steps / 2) ** 2 for step in range(steps)]
        ramp = [min(1.0, (step + 1) / (steps / 20)) for step in range(steps)]
        assert rates == pytest.approx([a * b for a, b in zip(half, ramp, strict=True)], rel=1e-12)
        assert max(rates) <= 0.3
